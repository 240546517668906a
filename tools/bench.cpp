// Times what Vernier is fast at, beside what the machine could do. For tools/bench.
//
//   vernier_bench rollout --model M --sequences B --prompt-tokens P --tokens N [--weights F]
//   vernier_bench prefill --model M --prompt-tokens P [--responses R] [--weights F]
//   vernier_bench kernels [--inner K --columns N] [--weights F]
//   vernier_bench step --model M --prompts B --n G --tokens N --steps K
//   vernier_bench train --shape 0.5B|1.5B|7B --device cuda --tokens N
//   vernier_bench head [--tokens T --width D --vocabulary V] [--precision P]
//   vernier_bench soak --model M --requests N [--kv-cache-gb X]
//
// One JSON object to standard output.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>

#include "core/base/clock.h"
#include "core/base/pool.h"
#include "core/kernels/machine.h"
#include "core/kernels/threads.h"
#include "core/model/model.h"
#include "rollout/engine.h"
#include "tools/bench_parts.h"

namespace vernier {
namespace {

struct Options {
  std::string model, weights = "fp32", device = "cpu";
  int64_t sequences = 64, prompt_tokens = 16, tokens = 64, responses = 8;
  int64_t inner = 576, columns = 49152, rounds = 5, threads = 0, requests = 10000;
  double kv_cache_gb = 0;
};

int64_t bytes_of(kernels::WeightFormat format) {
  if (format == kernels::WeightFormat::fp32) return 4;
  return format == kernels::WeightFormat::int8 ? 1 : 2;
}

// Weights that a token is multiplied with, the head among them.
int64_t multiplied(const ModelSpec& spec, int64_t parameters) {
  return parameters - (spec.tie_word_embeddings ? 0 : spec.vocab_size * spec.hidden_size);
}

RolloutConfig fixed_length(const Options& options, int64_t tokens, int64_t sequences) {
  RolloutConfig config;
  config.num_generations = 1;
  config.max_completion_length = tokens;
  config.max_running = sequences;
  config.max_step_tokens = std::max<int64_t>(512, sequences);
  config.ignore_eos = true;
  config.weights = format_of(options.weights);
  return config;
}

// Rounds that do not count: they pack the weights and write every page of the cache once, which on
// a virtual machine is slow the first time. A job has that behind it after a step or two.
constexpr int64_t kWarmUp = 5;

double seconds_of(Engine& engine, std::vector<Prompt> prompts, const RolloutConfig& config,
                  int64_t round) {
  const Clock clock;
  engine.generate(std::move(prompts), config, {.seed = 1, .step = static_cast<uint64_t>(round)}, 0,
                  nullptr, [](Group&&) {});
  return clock.seconds();
}

Json rollout(const Options& options) {
  const Model model = load_model(options.model, {.device = at::Device(options.device)});
  const ModelSpec& spec = model.decoder->spec();
  const auto prompts = [&](int64_t round) {
    return random_prompts(options.sequences, options.prompt_tokens, spec.vocab_size, round);
  };
  const RolloutConfig all = fixed_length(options, options.tokens, options.sequences);
  const RolloutConfig first = fixed_length(options, 1, options.sequences);
  std::vector<double> whole, decode;
  Engine engine(*model.decoder, *model.tokenizer);
  for (int64_t round = 0; round < kWarmUp + options.rounds; ++round) {
    const double seconds = seconds_of(engine, prompts(2 * round), all, round);
    const double prompt_seconds = seconds_of(engine, prompts(2 * round + 1), first, round);
    if (round < kWarmUp) continue;
    whole.push_back(static_cast<double>(options.sequences * options.tokens) / seconds);
    decode.push_back(static_cast<double>(options.sequences * (options.tokens - 1)) /
                     (seconds - prompt_seconds));
  }
  // An engine on a GPU records its graphs when it opens, so there the rate of decoding alone
  // counts: it is of a difference.
  if (options.device == "cuda")
    return {{"tokens_per_s", median(whole)}, {"decode_tokens_per_s", median(decode)}};
  const double bandwidth = kernels::read_gb_per_s() * 1e9,
               peak = kernels::peak_gflops(all.weights) * 1e9;
  const auto weights = static_cast<double>(multiplied(spec, model.decoder->num_parameters()));
  const double step = std::max(weights * static_cast<double>(bytes_of(all.weights)) / bandwidth,
                               2 * weights * static_cast<double>(options.sequences) / peak);
  const double bound = static_cast<double>(options.sequences) / step;
  return {{"tokens_per_s", median(whole)},
          {"decode_tokens_per_s", median(decode)},
          {"share_of_bound", median(decode) / bound},
          {"bound_tokens_per_s", bound},
          {"read_gb_per_s", bandwidth / 1e9},
          {"peak_gflops", peak / 1e9},
          {"instruction_set", kernels::instruction_set()},
          {"threads", kernel_pool().threads()},
          {"peak_rss_mb", peak_rss_mb()}};
}

Json prefill(const Options& options) {
  const Model model = load_model(options.model, {.device = at::Device(options.device)});
  const int64_t vocabulary = model.decoder->spec().vocab_size;
  std::vector<double> one, all;
  Engine engine(*model.decoder, *model.tokenizer);
  for (int64_t round = 0; round < kWarmUp + options.rounds; ++round)
    for (const bool many : {true, false}) {
      RolloutConfig config = fixed_length(options, 1, options.responses);
      config.max_step_tokens = std::max(options.prompt_tokens, options.responses);
      if (many) config.num_generations = options.responses;
      const double seconds = seconds_of(
          engine, random_prompts(1, options.prompt_tokens, vocabulary, 2 * round + (many ? 1 : 0)),
          config, round);
      if (round >= kWarmUp) (many ? all : one).push_back(seconds);
    }
  return {{"prompt_tokens_per_s", static_cast<double>(options.prompt_tokens) / median(one)},
          {"ms_one_response", median(one) * 1e3},
          {"ms_all_responses", median(all) * 1e3},
          {"responses", options.responses},
          {"ratio", median(all) / median(one)}};
}

Json products(const Options& options) {
  const int64_t inner = options.inner, columns = options.columns;
  std::vector<float> weights(static_cast<size_t>(inner * columns));
  Rng rng(1, Stream::init);
  for (float& weight : weights) weight = static_cast<float>(rng.next_uniform() - 0.5);
  const double bandwidth = kernels::read_gb_per_s();
  Json rows = Json::array();
  for (const char* name : {"fp32", "bf16", "int8"}) {
    kernels::PackedMatrix packed;
    kernels::pack_transposed(weights.data(), columns, inner, packed, format_of(name));
    const double peak = kernels::peak_gflops(format_of(name));
    for (const int64_t count : {1, 2, 4, 8, 16, 32, 64, 128, 256}) {
      std::vector<float> in(static_cast<size_t>(count * inner), 0.5f);
      std::vector<float> out(static_cast<size_t>(count * columns));
      double best = 1e9;
      for (int64_t round = 0; round < options.rounds; ++round) {
        const Clock clock;
        kernels::gemm(in.data(), packed, out.data(), count);
        best = std::min(best, clock.seconds());
      }
      const double gflops = 2.0 * static_cast<double>(count * inner * columns) / best / 1e9;
      const double gb = static_cast<double>(packed.data.size()) / best / 1e9;
      rows.push_back({{"weights", name},
                      {"rows", count},
                      {"ms", best * 1e3},
                      {"gflops", gflops},
                      {"gb_per_s", gb},
                      {"peak_gflops", peak},
                      {"share_of_bound", std::max(gflops / peak, gb / bandwidth)}});
    }
  }
  return {{"inner", inner},
          {"columns", columns},
          {"read_gb_per_s", bandwidth},
          {"instruction_set", kernels::instruction_set()},
          {"products", rows}};
}

double rss_mb() {
  std::ifstream statm("/proc/self/statm");
  double size = 0, resident = 0;
  statm >> size >> resident;
  return resident * static_cast<double>(::sysconf(_SC_PAGESIZE)) / (1 << 20);
}

// Requests of random prompts (half of them begin like others), groups and lengths, that come while
// others run; some leave. Memory is measured after each tenth of them.
class Soak {
 public:
  explicit Soak(const Options& options) : model_(load_model(options.model)), options_(options) {
    config_.max_completion_length = kLongest;
    config_.max_running = 32;
    config_.max_step_tokens = 128;
    config_.kv_cache_gb = options.kv_cache_gb;
    config_.weights = format_of(options.weights);
    for (const int64_t count : {1, 2, 5}) {
      RolloutConfig config = config_;
      config.num_generations = count;
      rules_.push_back(
          std::make_shared<const DrawRules>(config, *model_.tokenizer, model_.decoder->spec()));
    }
  }

  Json run() {
    Engine engine(*model_.decoder, *model_.tokenizer);
    engine.open(config_, 64, kLongest);
    Json memory = Json::array();
    const Clock clock;
    while (ended_ + cancelled_ < options_.requests) {
      while (submitted_ < options_.requests && engine.waiting() < 16) submit(engine);
      engine.step();
      if (rng_.next_below(64) == 0 && !open_.empty()) leave(engine);
      const int64_t tenth = std::max<int64_t>(1, options_.requests / 10);
      if ((ended_ + cancelled_) / tenth > std::ssize(memory)) memory.push_back(rss_mb());
    }
    const EngineStats stats = engine.stats();
    const int64_t pages = stats.scheduler.peak_pages;
    return {{"requests", options_.requests},
            {"ended", ended_},
            {"cancelled", cancelled_},
            {"tokens", stats.new_tokens},
            {"tokens_per_s", static_cast<double>(stats.new_tokens) / clock.seconds()},
            {"preemptions", stats.scheduler.preemptions},
            {"shared_tokens", stats.scheduler.shared_tokens},
            {"cache_pages", engine.pages()},
            {"peak_pages", pages},
            {"pages_left_in_use", engine.pages_in_use()},
            {"cache_mb",
             static_cast<double>(engine.pages() * KvCache::page_bytes(model_.decoder->spec())) /
                 (1 << 20)},
            {"rss_mb", memory}};
  }

 private:
  static constexpr int64_t kLongest = 48;

  void submit(Engine& engine) {
    Prompt prompt;
    prompt.index = submitted_++;
    prompt.id = cat(prompt.index);
    const int64_t size = 1 + rng_.next_below(kLongest), alike = rng_.next_below(2) * size / 2;
    for (int64_t i = 0; i < size; ++i)
      prompt.ids.push_back(
          i < alike ? static_cast<int32_t>(i % 7)
                    : static_cast<int32_t>(rng_.next_below(model_.decoder->spec().vocab_size)));
    prompt.max_completion_length = 1 + rng_.next_below(kLongest);
    const int64_t index = prompt.index;
    open_[index] = engine.submit({.prompt = std::move(prompt),
                                  .rules = rules_[static_cast<size_t>(rng_.next_below(3))],
                                  .key = {.seed = 1, .step = 0},
                                  .weight_version = 0,
                                  .grown = {},
                                  .done = [this, index](Group&&) {
                                    ++ended_;
                                    open_.erase(index);
                                  }});
  }

  void leave(Engine& engine) {
    const auto one = open_.begin();
    engine.cancel(one->second);
    open_.erase(one);
    ++cancelled_;
  }

  Model model_;
  Options options_;
  RolloutConfig config_;
  std::vector<std::shared_ptr<const DrawRules>> rules_;
  Rng rng_{7, Stream::task};
  int64_t submitted_ = 0, ended_ = 0, cancelled_ = 0;
  std::map<int64_t, int64_t> open_;  // prompt to ticket
};

void add_model(CLI::App* command, Options& options) {
  command->add_option("--model", options.model, "Hugging Face folder or GGUF file")->required();
  command->add_option("--weights", options.weights)->check(CLI::IsMember({"fp32", "bf16", "int8"}));
  command->add_option("--device", options.device)->check(CLI::IsMember({"cpu", "cuda"}));
  command->add_option("--prompt-tokens", options.prompt_tokens)->check(CLI::Range(1, 1 << 20));
}

void add_step(CLI::App* command, StepBench& options) {
  command
      ->add_option("--model", options.model,
                   "Hugging Face folder, GGUF file, or tiny-llama-128x4: a new one")
      ->required();
  command->add_option("--weights", options.weights, "that responses are drawn with")
      ->check(CLI::IsMember({"fp32", "bf16", "int8"}));
  command->add_option("--precision", options.precision, "of training")
      ->check(CLI::IsMember({"fp32", "bf16"}));
  command->add_option("--algorithm", options.algorithm);
  command->add_option("--prompts", options.prompts)->check(CLI::Range(1, 1 << 16));
  command->add_option("--n", options.n, "responses a prompt")->check(CLI::Range(1, 1 << 12));
  command->add_option("--prompt-tokens", options.prompt_tokens)->check(CLI::Range(1, 1 << 20));
  command->add_option("--tokens", options.tokens, "of each response")
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("--steps", options.steps, "that are timed")->check(CLI::Range(1, 1 << 20));
  command->add_option("--max-tokens", options.max_tokens, "of a micro-batch")
      ->check(CLI::Range(1, 1 << 30));
  command->add_flag("--activation-checkpointing", options.checkpointing);
  command->add_option("--lora-rank", options.lora_rank, "of adapters of all matrices; 0: none")
      ->check(CLI::Range(0, 1 << 16));
  command->add_option("--save", options.save, "folder that the model is written to first");
}

void add_train(CLI::App* command, TrainBench& options) {
  command->add_option("--shape", options.shape, "tiny, 135M, or Qwen2.5's 0.5B, 1.5B, 7B");
  command->add_option("--device", options.device)->check(CLI::IsMember({"cpu", "cuda"}));
  command->add_option("--precision", options.precision)->check(CLI::IsMember({"fp32", "bf16"}));
  command->add_option("--length", options.length, "tokens of a sequence")
      ->check(CLI::Range(1, 32768));
  command->add_option("--tokens", options.tokens, "of a micro-batch")
      ->check(CLI::Range(1, 1 << 24));
  command->add_option("--microbatches", options.microbatches, "of a step")
      ->check(CLI::Range(1, 1 << 16));
  command->add_option("--steps", options.steps, "that are timed")->check(CLI::Range(1, 1 << 20));
  command->add_flag("--activation-checkpointing", options.checkpointing);
}

void add_head(CLI::App* command, HeadBench& options) {
  command->add_option("--tokens", options.tokens)->check(CLI::Range(1, 1 << 24));
  command->add_option("--width", options.width)->check(CLI::Range(1, 1 << 16));
  command->add_option("--vocabulary", options.vocabulary)->check(CLI::Range(1, 1 << 24));
  command->add_option("--precision", options.precision)->check(CLI::IsMember({"fp32", "bf16"}));
}

int run(int argc, char** argv) {
  Options options;
  CLI::App app("times what Vernier is fast at", "vernier_bench");
  app.require_subcommand(1);
  app.fallthrough();
  app.add_option("--threads", options.threads, "0: one a core")->check(CLI::Range(0, 1024));
  app.add_option("--rounds", options.rounds)->check(CLI::Range(1, 1000));
  CLI::App* decoding = app.add_subcommand("rollout", "tokens a second of responses");
  add_model(decoding, options);
  decoding->add_option("--sequences", options.sequences)->check(CLI::Range(1, 1 << 16));
  decoding->add_option("--tokens", options.tokens, "of each response")
      ->check(CLI::Range(2, 1 << 20));
  CLI::App* prompts = app.add_subcommand("prefill", "time of a prompt, and of one with responses");
  add_model(prompts, options);
  prompts->add_option("--responses", options.responses)->check(CLI::Range(1, 1 << 12));
  CLI::App* kernels = app.add_subcommand("kernels", "products with packed weights");
  kernels->add_option("--inner", options.inner)->check(CLI::Range(1, 1 << 16));
  kernels->add_option("--columns", options.columns)->check(CLI::Range(1, 1 << 20));
  CLI::App* soak = app.add_subcommand("soak", "many random requests, and what memory they take");
  add_model(soak, options);
  soak->add_option("--requests", options.requests)->check(CLI::Range(1, 1 << 30));
  soak->add_option("--kv-cache-gb", options.kv_cache_gb)->check(CLI::Range(0.0, 1e6));
  StepBench steps;
  CLI::App* step = app.add_subcommand("step", "whole RL steps with responses of one length");
  add_step(step, steps);
  TrainBench training;
  CLI::App* train = app.add_subcommand("train", "full training of a shape, on random tokens");
  add_train(train, training);
  HeadBench heads;
  CLI::App* head = app.add_subcommand("head", "log-probabilities and gradients of a large head");
  add_head(head, heads);
  SyncBench sync;
  CLI::App* weights = app.add_subcommand("sync", "weights from one process to others, beside gloo");
  weights->add_option("--ranks", sync.ranks)->check(CLI::Range(2, 64));
  weights->add_option("--parameters", sync.parameters)->check(CLI::Range(1L, 1L << 36));
  weights->add_option("--store", sync.store)->group("");
  ShardBench shards;
  CLI::App* shard = app.add_subcommand("shard", "memory and speed of ranks by trainer.shard");
  shard->add_option("--ranks", shards.ranks)->check(CLI::Range(1, 64));
  shard->add_option("--shape", shards.shape);
  shard->add_option("--shard", shards.shard)->check(CLI::IsMember({"none", "optimizer", "full"}));
  shard->add_option("--tokens", shards.tokens, "of each rank")->check(CLI::Range(1, 1 << 20));
  shard->add_option("--steps", shards.steps)->check(CLI::Range(1, 1000));
  CLI11_PARSE(app, argc, argv);
  sync.rounds = options.rounds;
  if (weights->parsed()) return bench_sync(sync, {argv + 1, argv + argc});
  if (shard->parsed()) return bench_shard(shards, {argv + 1, argv + argc});
  set_threads(options.threads);
  const Json out = decoding->parsed()  ? rollout(options)
                   : prompts->parsed() ? prefill(options)
                   : soak->parsed()    ? Soak(options).run()
                   : step->parsed()    ? bench_step(steps)
                   : train->parsed()   ? bench_train(training)
                   : head->parsed()    ? bench_head(heads)
                                       : products(options);
  std::printf("%s\n", dump_json(out).c_str());
  return 0;
}

}  // namespace
}  // namespace vernier

int main(int argc, char** argv) {
  try {
    return vernier::run(argc, argv);
  } catch (const vernier::Error& problem) {
    std::fprintf(stderr, "%s\n", problem.what());
    return 2;
  }
}
