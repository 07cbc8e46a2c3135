(* techmap_celltype = "$mem_v2" *)
module cut_memory (RD_CLK, RD_EN, RD_ARST, RD_SRST, RD_ADDR, RD_DATA, WR_CLK, WR_EN, WR_ADDR, WR_DATA);
  parameter MEMID = "";
  parameter signed SIZE = 4;
  parameter signed OFFSET = 0;
  parameter signed ABITS = 2;
  parameter signed WIDTH = 8;
  parameter signed INIT = 0;
  parameter signed RD_PORTS = 1;
  parameter RD_CLK_ENABLE = 0;
  parameter RD_CLK_POLARITY = 0;
  parameter RD_TRANSPARENCY_MASK = 0;
  parameter RD_COLLISION_X_MASK = 0;
  parameter RD_WIDE_CONTINUATION = 0;
  parameter RD_CE_OVER_SRST = 0;
  parameter RD_INIT_VALUE = 0;
  parameter RD_ARST_VALUE = 0;
  parameter RD_SRST_VALUE = 0;
  parameter signed WR_PORTS = 1;
  parameter WR_CLK_ENABLE = 0;
  parameter WR_CLK_POLARITY = 0;
  parameter WR_PRIORITY_MASK = 0;
  parameter WR_WIDE_CONTINUATION = 0;
  input [RD_PORTS-1:0] RD_CLK, RD_EN, RD_ARST, RD_SRST;
  input [RD_PORTS*ABITS-1:0] RD_ADDR;
  output [RD_PORTS*WIDTH-1:0] RD_DATA;
  input [WR_PORTS-1:0] WR_CLK;
  input [WR_PORTS*WIDTH-1:0] WR_EN, WR_DATA;
  input [WR_PORTS*ABITS-1:0] WR_ADDR;
  (* keep *) wire [RD_PORTS-1:0] cut_out_en = RD_EN, cut_out_arst = RD_ARST, cut_out_srst = RD_SRST;
  (* keep *) wire [RD_PORTS*ABITS-1:0] cut_out_raddr;
  (* keep *) wire [RD_PORTS*WIDTH-1:0] cut_in_data;
  (* keep *) wire [WR_PORTS*WIDTH-1:0] cut_out_wen = WR_EN, cut_out_wdata = WR_DATA & WR_EN;
  (* keep *) wire [WR_PORTS*ABITS-1:0] cut_out_waddr;
  // A bare connection would give the input the name of what reads it, and `expose` would then cut
  // that off instead: both designs would read nothing. Inverted it is a signal of its own.
  assign RD_DATA = ~cut_in_data;
  genvar n;
  generate
    for (n = 0; n < RD_PORTS; n = n + 1) begin : r
      assign cut_out_raddr[n*ABITS +: ABITS] = RD_EN[n] ? RD_ADDR[n*ABITS +: ABITS] : {ABITS{1'b0}};
    end
    for (n = 0; n < WR_PORTS; n = n + 1) begin : w
      assign cut_out_waddr[n*ABITS +: ABITS] = |WR_EN[n*WIDTH +: WIDTH] ? WR_ADDR[n*ABITS +: ABITS] : {ABITS{1'b0}};
    end
  endgenerate
endmodule
