// What the parts of a job cost on this machine, measured.
#pragma once

#include <cstdint>
#include <map>
#include <tuple>
#include <utility>

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

/// What drawing takes, of the whole model: a pass with `few` rows and one with `many`, and what it
/// takes more for each row and token that it sees beyond `seen` tokens a row.
struct DrawRates {
  int64_t few = 0, many = 0;
  double seen = 0;
  Seconds few_rows, many_rows, token_seen;
  Seconds prompt_token;
  Seconds pack;  // after every update
};

/// What training takes, of the whole model: for each token of the layers, for each token that one
/// attends to, for each row of the head, and for a micro-batch.
struct TrainRates {
  Seconds forward_token, forward_seen, forward_head;
  Seconds backward_token, backward_seen, backward_head, backward_batch;
  Seconds pack;  // after every update, where drawing has another form
};

struct StepRates {
  DrawRates draw;
  TrainRates train;
  Seconds optimizer;  // of an update
};

/// Measures them at some of the model's layers, some of its vocabulary and some of the tokens of a
/// step, in some seconds, and once for all settings that share a part. Takes the memory of a model
/// of up to 130 million weights.
class StepMeter {
 public:
  /// The job has RL steps, and outlives the meter.
  explicit StepMeter(const PlannedJob& job) : job_(job) {}

  StepRates rates(const PlanSettings& settings);

 private:
  const PlannedJob& job_;
  std::map<std::pair<WeightFormat, int64_t>, DrawRates> draw_;              // by max_running
  std::map<std::tuple<kernels::Precision, bool, bool>, TrainRates> train_;  // one form for both
  std::map<bool, Seconds> optimizer_;                                       // moments in bytes
};

}  // namespace vernier
