// The tokens of a layer's cores as one stream: in each step all of core 0, then all of core 1, ...; one end of step.
module snn_join #(
    parameter int SOURCES = 2,
    parameter int GW = 4,
    parameter int PW = 16,
    parameter logic [SOURCES*32-1:0] BASES = '0,  // what is added to the group of each source
    localparam int TW = 2 + GW + PW
) (
    input  logic                       clk,
    input  logic                       rst,
    input  logic [SOURCES-1:0]         some,
    input  logic [SOURCES-1:0][TW-1:0] tokens,
    output logic [SOURCES-1:0]         pop,
    input  logic                       room,
    output logic                       push,
    output logic [TW-1:0]              push_token
);
  localparam int SW = $clog2(SOURCES);

  logic [SW-1:0] turn;
  logic [TW-1:0] token;
  logic take, ends, final_turn;

  assign token = tokens[turn];
  assign ends = token[TW-2];
  assign final_turn = turn == SW'(SOURCES - 1);
  assign take = some[turn] && room && !rst;
  assign push = take && (!ends || final_turn);
  assign push_token = ends ? token : {token[TW-1:TW-2], token[PW+:GW] + GW'(BASES[turn*32+:32]), token[PW-1:0]};

  always_comb begin
    pop = '0;
    pop[turn] = take;
  end

  always_ff @(posedge clk)
    if (rst) turn <= '0;
    else if (take && ends) turn <= final_turn ? '0 : turn + 1'b1;

`ifndef SYNTHESIS
  always_ff @(posedge clk)
    if (!rst) assert (int'(turn) < SOURCES) else $error("a turn of a source that is not there");
`endif
endmodule
