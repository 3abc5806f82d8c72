// A queue of tokens: what is pushed in one cycle can be popped from the next on.
module snn_fifo #(
    parameter int WIDTH = 8,
    parameter int DEPTH = 16  // a power of two
) (
    input  logic                     clk,
    input  logic                     rst,
    input  logic                     push,
    input  logic [WIDTH-1:0]         push_token,
    input  logic                     pop,
    output logic [WIDTH-1:0]         pop_token,
    output logic                     some,
    output logic [$clog2(DEPTH):0]   used
);
  localparam int AW = $clog2(DEPTH);

  logic [WIDTH-1:0] places [DEPTH];
  logic [AW:0] head, tail;

  assign used = tail - head;
  assign some = head != tail;
  assign pop_token = places[head[AW-1:0]];

  always_ff @(posedge clk) begin
    if (push) places[tail[AW-1:0]] <= push_token;
    if (rst) begin
      head <= '0;
      tail <= '0;
    end else begin
      tail <= tail + (AW + 1)'(push);
      head <= head + (AW + 1)'(pop);
    end
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk)
    if (!rst) begin
      assert (!push || used < (AW + 1)'(DEPTH)) else $error("a push into a full queue");
      assert (!pop || some) else $error("a pop from an empty queue");
    end
`endif
endmodule
