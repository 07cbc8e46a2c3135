(* techmap_celltype = "$mul" *)
module cut_multiplier (A, B, Y);
  parameter A_SIGNED = 0;
  parameter B_SIGNED = 0;
  parameter A_WIDTH = 1;
  parameter B_WIDTH = 1;
  parameter Y_WIDTH = 1;
  input [A_WIDTH-1:0] A;
  input [B_WIDTH-1:0] B;
  output [Y_WIDTH-1:0] Y;
  (* keep *) wire [A_WIDTH-1:0] factor_out_a;
  (* keep *) wire [B_WIDTH-1:0] factor_out_b;
  (* keep *) wire [Y_WIDTH-1:0] product_in;
  // Inverted, so that each is a signal of its own, as in cut_memory.v.
  assign factor_out_a = ~A;
  assign factor_out_b = ~B;
  assign Y = ~product_in;
endmodule
