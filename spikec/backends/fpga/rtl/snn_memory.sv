// A memory that is read: its word comes two cycles after its address, through a register of its own.
// What it holds comes from a file, or (LOADED) from the loader: a word lies in the highest whole bytes of load_word.
module snn_memory #(
    parameter int WIDTH = 8,
    parameter int WORDS = 16,
    parameter     FILE  = "memory.mem",
    // What synthesis makes of it: "block" memories, "logic", or what it likes. Verilator reads no attributes.
    /* verilator lint_off UNUSEDPARAM */
    parameter     STYLE = "auto",
    /* verilator lint_on UNUSEDPARAM */
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
  logic unused;
  assign unused = &{1'b0, load, load_address, load_word};

  if (LOADED != 0) begin : g_loaded
    localparam int AT = LOAD_WIDTH - (WIDTH + 7) / 8 * 8;
    // Nothing is read while it is loaded: what a read of the word that is being written gives does not matter.
    (* no_rw_check, ram_style = STYLE *) logic [WIDTH-1:0] words [WORDS];
    logic [WIDTH-1:0] read;

    always_ff @(posedge clk) begin
      if (load) words[load_address] <= load_word[AT+:WIDTH];
      read <= words[address];
      word <= read;
    end
  end else begin : g_baked
    (* ram_style = STYLE *) logic [WIDTH-1:0] words [WORDS];
    logic [WIDTH-1:0] read;

    initial $readmemh(FILE, words);

    always_ff @(posedge clk) begin
      read <= words[address];
      word <= read;
    end
  end
endmodule
