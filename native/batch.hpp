// The rows of one forward pass, and the loop that splits a call into forward passes.
#pragma once
#include <cstdint>

#include "inkhorn.h"

struct ink_session;

namespace ink {

constexpr int32_t MAX_ROWS = 256;     // tokens per forward pass
constexpr int32_t MAX_TILE_ROWS = 4;  // rows of one sequence that attention processes together

// One token in a forward pass.
struct Row {
  int32_t slot, position, token;
  int32_t input;   // index of the input that it belongs to
  int32_t output;  // index among the outputs of its input, or -1
};

// Consecutive rows of one sequence.
struct Tile {
  int32_t first_row, n_rows;
};

// The rows of the current forward pass. Plain arrays, because the ISA-specific code reads them.
struct Batch {
  Row rows[MAX_ROWS];
  Tile tiles[MAX_ROWS];
  int32_t output_rows[MAX_ROWS];  // the rows that have an output
  int32_t n_rows = 0, n_tiles = 0, n_outputs = 0;
  const ink_model_input *inputs = nullptr;  // whose edits apply to the rows; null if no input has edits
  const uint8_t *edited = nullptr;          // [site][n_layer + 1]: whether some input edits this activation
};

// Run all forward passes of a call on the session's team. The inputs must be valid.
void run_batches(ink_session &session, ink_model_input *inputs, int32_t n_inputs, int32_t steps);

}  // namespace ink
