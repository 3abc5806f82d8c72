// A memory that is only read: its word comes two cycles after its address, through a register of its own.
module snn_rom #(
    parameter int WIDTH = 8,
    parameter int WORDS = 16,
    parameter     FILE  = "rom.mem",
    localparam int AW = WORDS > 1 ? $clog2(WORDS) : 1
) (
    input  logic             clk,
    input  logic [AW-1:0]    address,
    output logic [WIDTH-1:0] word
);
  logic [WIDTH-1:0] words [WORDS];
  logic [WIDTH-1:0] read;

  initial $readmemh(FILE, words);

  always_ff @(posedge clk) begin
    read <= words[address];
    word <= read;
  end
endmodule
