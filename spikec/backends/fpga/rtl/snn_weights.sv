// The weights of a core in banks: a word comes three cycles after its address (memory, bank register, bank choice).
module snn_weights #(
    parameter int WIDTH = 8,
    parameter int WORDS = 16,
    parameter int BANK  = 1024,  // words of a bank, a power of two; at most 100 banks
    parameter     STEM  = "c0",  // files STEM.weights.bNN.mem
    parameter int LOADED = 0,
    parameter int LOAD_WIDTH = 32,
    localparam int AW = WORDS > 1 ? $clog2(WORDS) : 1
) (
    input  logic                  clk,
    input  logic [AW-1:0]         address,
    output logic [WIDTH-1:0]      word,
    input  logic                  load,
    input  logic [AW-1:0]         load_address,
    input  logic [LOAD_WIDTH-1:0] load_word
);
  localparam int BANKS = (WORDS + BANK - 1) / BANK;
  localparam int BW = BANKS > 1 ? $clog2(BANKS) : 1;

  logic [WIDTH-1:0] words [BANKS];
  logic [BANKS-1:0] loads;

  for (genvar b = 0; b < BANKS; b++) begin : g_bank
    snn_memory #(
        .WIDTH(WIDTH),
        .WORDS(BANK),
        .STYLE("block"),  // so that the count of block memories is exact
        .FILE({STEM, ".weights.b", 8'(48 + b / 10), 8'(48 + b % 10), ".mem"}),
        .LOADED(LOADED),
        .LOAD_WIDTH(LOAD_WIDTH)
    ) bank (
        .clk(clk),
        .address($clog2(BANK)'(address)),
        .word(words[b]),
        .load(loads[b]),
        .load_address($clog2(BANK)'(load_address)),
        .load_word(load_word)
    );
  end

  if (BANKS == 1) begin : g_one
    assign loads = load;
    always_ff @(posedge clk) word <= words[0];
  end else begin : g_choice
    logic [BW-1:0] bank0, bank1;
    always_comb begin
      loads = '0;
      loads[load_address[AW-1:$clog2(BANK)]] = load;
    end
    always_ff @(posedge clk) begin
      bank0 <= address[AW-1:$clog2(BANK)];
      bank1 <= bank0;
      word  <= words[bank1];
    end
  end
endmodule
