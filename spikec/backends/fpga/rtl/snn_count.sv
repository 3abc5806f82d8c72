// Counts the spikes of every output neuron over a sample; at its end sends the counts, a group a token, and the end.
// Counts stay at their greatest value; ends of step are taken and not passed on (docs/spike-core.md).
module snn_count #(
    parameter int GROUPS = 1,
    parameter int LANES = 16,
    parameter int GW = 1,   // bits of the group in a token
    parameter int CB = 16,  // bits of a count
    localparam int IW = 2 + GW + LANES,
    localparam int PW = LANES * CB,
    localparam int OW = 2 + GW + PW
) (
    input  logic          clk,
    input  logic          rst,
    input  logic          some,
    input  logic [IW-1:0] token,
    output logic          pop,
    input  logic          room,
    output logic          push,
    output logic [OW-1:0] push_token
);
  localparam int AW = GROUPS > 1 ? $clog2(GROUPS) : 1;
  localparam int NW = $clog2(GROUPS + 1);

  // After a reset every count is cleared; then tokens are taken until a sample ends, and its counts sent and cleared.
  typedef enum logic [1:0] {CLEARING, COUNTING, SENDING} state_t;
  state_t state;
  logic [NW-1:0] at;
  logic last, sends;

  assign pop = state == COUNTING && some && !rst;
  assign last = at == NW'(GROUPS);
  assign sends = state == SENDING && room && !rst;

  always_ff @(posedge clk)
    if (rst) begin
      state <= CLEARING;
      at <= '0;
    end else begin
      case (state)
        CLEARING: begin
          at <= at + 1'b1;
          if (at == NW'(GROUPS - 1)) state <= COUNTING;
        end
        COUNTING: begin
          at <= '0;
          if (pop && token[IW-2] && token[IW-1]) state <= SENDING;
        end
        SENDING:
        if (sends) begin
          at <= at + 1'b1;
          if (last) state <= COUNTING;
        end
        default: state <= CLEARING;
      endcase
    end

  // A cycle behind the pop: read, add, write one group.
  logic adds1;
  logic [AW-1:0] group1, address;
  logic [LANES-1:0] mask1;

  always_ff @(posedge clk) begin
    adds1 <= pop && !token[IW-2];
    group1 <= AW'(token[LANES+:GW]);
    mask1 <= token[LANES-1:0];
  end

  logic [PW-1:0] counts [GROUPS];
  logic [PW-1:0] now, next;

  assign address = state == COUNTING || adds1 ? group1 : AW'(at);
  assign now = counts[address];
  for (genvar p = 0; p < LANES; p++) begin : g_lane
    logic [CB-1:0] one;
    assign one = now[p*CB+:CB];
    assign next[p*CB+:CB] = mask1[p] && one != '1 ? one + 1'b1 : one;
  end

  always_ff @(posedge clk)
    if (adds1) counts[address] <= next;
    else if (state == CLEARING || (sends && !last)) counts[address] <= '0;

  assign push = sends;
  assign push_token = last ? {2'b11, {(OW - 2) {1'b0}}} : {2'b10, GW'(at), now};

`ifndef SYNTHESIS
  always_ff @(posedge clk)
    if (!rst) begin
      assert (!pop || token[IW-2] || (!token[IW-1] && token[LANES-1:0] != '0)) else $error("a token of no spikes");
      assert (!pop || token[IW-2] || int'(token[LANES+:GW]) < GROUPS) else $error("a group that is not there");
      assert (!(adds1 && sends)) else $error("a count is sent before its last spike is added");
    end
`endif
endmodule
