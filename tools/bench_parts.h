// What the benchmarks share.
#pragma once

#include <sys/resource.h>

#include <algorithm>
#include <string>
#include <vector>

#include "core/base/errors.h"
#include "core/base/json.h"
#include "core/base/rng.h"
#include "core/kernels/kernels.h"
#include "core/model/spec.h"
#include "core/types.h"

namespace vernier {

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

inline kernels::WeightFormat format_of(const std::string& name) {
  if (name == "bf16") return kernels::bf16_format();
  return name == "int8" ? kernels::WeightFormat::int8 : kernels::WeightFormat::fp32;
}
inline double peak_rss_mb() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

// Others in every round, so that none is found in the cache.
inline std::vector<Prompt> random_prompts(int64_t count, int64_t tokens, int64_t vocabulary,
                                          int64_t round) {
  std::vector<Prompt> prompts(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    Rng rng(7, Stream::task, static_cast<uint64_t>(round), static_cast<uint64_t>(i));
    Prompt& prompt = prompts[static_cast<size_t>(i)];
    prompt.id = cat(i);
    prompt.index = i;
    for (int64_t t = 0; t < tokens; ++t)
      prompt.ids.push_back(static_cast<int32_t>(rng.next_below(vocabulary)));
  }
  return prompts;
}

/// Whole RL steps (bench_step.cpp).
struct StepBench {
  std::string model, weights = "bf16", precision = "bf16", algorithm = "grpo", save;
  int64_t prompts = 8, n = 8, prompt_tokens = 64, tokens = 64, steps = 5, max_tokens = 4096;
  int64_t threads = 0, lora_rank = 0;
  bool checkpointing = false;
};
Json bench_step(const StepBench& options);

/// Full training of a shape with random weights (bench_train.cpp): tokens a second, and their share
/// of the dense peak by LLMQ's definition (core/model/flops.h).
struct TrainBench {
  std::string shape = "0.5B", device = "cpu", precision = "bf16";
  int64_t length = 1024;     // tokens of a sequence
  int64_t tokens = 8192;     // of a micro-batch
  int64_t microbatches = 4;  // of a step
  int64_t steps = 5;         // that are timed
  bool checkpointing = false;
};
Json bench_train(const TrainBench& options);

/// A shape by its name: tiny, SmolLM2's 135M, or Qwen2.5's 0.5B, 1.5B, 7B.
ModelSpec shape_named(const std::string& name);

/// Ranks that train a shape, a micro-batch each, by trainer.shard (bench_shard.cpp).
struct ShardBench {
  std::string shape = "135M", shard = "full";
  int64_t ranks = 4, tokens = 256, steps = 3;
};
/// Starts the ranks with these arguments of the program, or is one of them; the exit code.
int bench_shard(const ShardBench& options, const std::vector<std::string>& arguments);

/// The head by itself (bench_head.cpp).
struct HeadBench {
  std::string precision = "bf16";
  int64_t tokens = 8192, width = 896, vocabulary = 152064;
};
Json bench_head(const HeadBench& options);

/// Weights of so many numbers from one of some processes to the others.
struct SyncBench {
  int64_t ranks = 2, parameters = 134515008, rounds = 7;  // those of SmolLM2-135M
  std::string store;                                      // file that the ranks meet at
};
/// Starts the ranks with these arguments of the program, or is one of them; the exit code.
int bench_sync(const SyncBench& options, const std::vector<std::string>& arguments);

}  // namespace vernier
