// What the parts of a job cost on this machine, measured.
#pragma once

#include <cstdint>

#include "trainer/plan.h"

namespace vernier {

/// Bytes that a process holds beside models: program and libraries with all that a step touches of
/// them, and what was read so far. Runs a step of a tiny model.
int64_t measure_base();

/// Seconds: the fastest of some measurements, their median, the slowest.
struct Seconds {
  double low = 0, middle = 0, high = 0;

  Seconds operator+(const Seconds& other) const {
    return {low + other.low, middle + other.middle, high + other.high};
  }
  Seconds operator*(double factor) const { return {low * factor, middle * factor, high * factor}; }
};

/// What the parts of a step take, of the whole model: measured at some of its layers, some of its
/// vocabulary and some of the tokens of a step.
struct StepRates {
  // Decoding: a pass with `few` rows and one with `many`, and what it takes more for each row and
  // token that it sees beyond `seen` tokens a row.
  int64_t few = 0, many = 0;
  double seen = 0;
  Seconds few_rows, many_rows, token_seen;
  Seconds prompt_token;
  Seconds pack_drawing, pack_training;  // after every update; where training has a form of its own
  // Training: for each token of the layers, for each token that one attends to, for each row of the
  // head, and for a micro-batch.
  Seconds forward_token, forward_seen, forward_head;
  Seconds backward_token, backward_seen, backward_head, backward_batch;
  Seconds optimizer;  // of an update
};

/// Measures them, in some seconds. Takes the memory of a model of some ten million weights.
StepRates measure_step(const PlannedJob& job, const PlanSettings& settings);

}  // namespace vernier
