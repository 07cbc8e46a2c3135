"""What somebody needs who puts the accelerator into a design of their own."""
