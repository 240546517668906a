// Times what Vernier is fast at, beside what the machine could do. For tools/bench.
//
//   vernier_bench rollout --model M --sequences B --prompt-tokens P --tokens N [--weights F]
//   vernier_bench prefill --model M --prompt-tokens P [--responses R] [--weights F]
//   vernier_bench kernels [--inner K --columns N] [--weights F]
//   vernier_bench soak --model M --requests N [--kv-cache-gb X]
//
// One JSON object to standard output.
#include <sys/resource.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <fstream>
#include <map>

#include "core/base/clock.h"
#include "core/base/errors.h"
#include "core/base/json.h"
#include "core/base/pool.h"
#include "core/base/rng.h"
#include "core/kernels/threads.h"
#include "core/model/model.h"
#include "rollout/engine.h"

namespace vernier {
namespace {

struct Options {
  std::string model, weights = "fp32", device = "cpu";
  int64_t sequences = 64, prompt_tokens = 16, tokens = 64, responses = 8;
  int64_t inner = 576, columns = 49152, rounds = 5, threads = 0, requests = 10000;
  double kv_cache_gb = 0;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

kernels::WeightFormat format_of(const std::string& name) {
  if (name == "bf16") return kernels::bf16_format();
  return name == "int8" ? kernels::WeightFormat::int8 : kernels::WeightFormat::fp32;
}
int64_t bytes_of(kernels::WeightFormat format) {
  if (format == kernels::WeightFormat::fp32) return 4;
  return format == kernels::WeightFormat::int8 ? 1 : 2;
}

// Best of several passes over 256 MB, each thread through a part of its own with what comes after
// asked for early, as the kernels do.
double read_gb_per_s() {
  constexpr int64_t kBytes = int64_t{1} << 28, kLine = 64, kAhead = 4096;
  Buffer memory(kBytes + kAhead);
  std::fill_n(memory.as<uint64_t>(), kBytes / 8, uint64_t{1});
  const int64_t threads = kernel_pool().threads();
  std::atomic<uint64_t> sink = 0;
  double best = 0;
  for (int pass = 0; pass < 7; ++pass) {
    const Clock clock;
    kernel_pool().run(threads, [&](int64_t part) {
      const char* end = memory.as<char>() + kBytes / threads * (part + 1);
      uint64_t sum = 0;
      for (const char* at = end - kBytes / threads; at < end; at += kLine) {
        __builtin_prefetch(at + kAhead);
        const auto* words = reinterpret_cast<const uint64_t*>(at);
        for (int64_t i = 0; i < kLine / 8; ++i) sum += words[i];
      }
      sink += sum;
    });
    best = std::max(best, static_cast<double>(kBytes) / clock.seconds() / 1e9);
  }
  return best;
}

// Fused multiply-adds that touch no memory: what a core could do at most. A vector is 4, 8 or 16
// floats; twelve chains hide the latency of one.
constexpr int kChains = 12;
template <class Vec>
[[gnu::always_inline]] inline float multiply_add(int64_t count) {
  Vec sums[kChains];
  for (int c = 0; c < kChains; ++c) sums[c] = Vec{} + 1e-3f * static_cast<float>(c);
  for (int64_t i = 0; i < count; ++i)
    for (int c = 0; c < kChains; ++c) sums[c] = sums[c] * 0.999f + 1e-3f;
  float total = 0;
  for (int c = 0; c < kChains; ++c) total += sums[c][0];
  return total;
}
typedef float Vec4 __attribute__((vector_size(16)));
float multiply_add_4(int64_t count) { return multiply_add<Vec4>(count); }
#if defined(__x86_64__)
typedef float Vec8 __attribute__((vector_size(32)));
typedef float Vec16 __attribute__((vector_size(64)));
[[gnu::target("avx2,fma")]] float multiply_add_8(int64_t count) {
  return multiply_add<Vec8>(count);
}
[[gnu::target("avx512f")]] float multiply_add_16(int64_t count) {
  return multiply_add<Vec16>(count);
}
// Pairs of bf16 numbers: twice as many a vector.
[[gnu::target("avx512f,avx512bf16")]] float multiply_pairs(int64_t count) {
  const __m512i ones = _mm512_set1_epi32(0x3F803F80);
  Vec16 sums[kChains];
  for (int c = 0; c < kChains; ++c) sums[c] = Vec16{} + static_cast<float>(c);
  for (int64_t i = 0; i < count; ++i)
    for (Vec16& sum : sums)
      sum = _mm512_dpbf16_ps(sum, reinterpret_cast<const __m512bh&>(ones),
                             reinterpret_cast<const __m512bh&>(ones));
  float total = 0;
  for (const Vec16& sum : sums) total += sum[0];
  return total;
}
// Four products of tiles, each of 16 rows with 16 columns of 32 numbers.
[[gnu::target("amx-tile,amx-bf16")]] float multiply_tiles(int64_t count) {
  struct alignas(64) {
    uint8_t palette = 1, start = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } shapes;
  __asm__ volatile("" : : "m"(shapes));  // the intrinsic says that it reads 8 bytes; it reads all
  _tile_loadconfig(&shapes);
  for (int64_t i = 0; i < count; ++i) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_release();
  return 0;
}
#endif

struct Peak {
  float (*run)(int64_t count);
  int64_t multiplied;  // numbers a count
};

Peak widest(kernels::WeightFormat format) {
#if defined(__x86_64__)
  const std::string set = kernels::instruction_set();
  const bool pairs = format == kernels::WeightFormat::bf16_pairs;
  if (pairs && set == "avx512+amx") return {multiply_tiles, 4 * 16 * 16 * 32};
  if (pairs) return {multiply_pairs, kChains * 32};
  if (set.starts_with("avx512")) return {multiply_add_16, kChains * 16};
  if (set == "avx2") return {multiply_add_8, kChains * 8};
#endif
  return {multiply_add_4, kChains * 4};
}

double peak_gflops(kernels::WeightFormat format) {
  constexpr int64_t kCount = 4'000'000;
  const Peak peak = widest(format);
  const int threads = kernel_pool().threads();
  std::atomic<float> sink = 0;
  double best = 0;
  for (int pass = 0; pass < 7; ++pass) {
    const Clock clock;
    kernel_pool().run(threads, [&](int64_t) { sink = peak.run(kCount); });
    const auto operations = static_cast<double>(2 * peak.multiplied * kCount * threads);
    best = std::max(best, operations / clock.seconds() / 1e9);
  }
  return best;
}

double peak_rss_mb() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

// Others in every round, so that none is found in the cache.
std::vector<Prompt> random_prompts(int64_t count, int64_t tokens, int64_t vocabulary,
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
  const double bandwidth = read_gb_per_s() * 1e9, peak = peak_gflops(all.weights) * 1e9;
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
  const double bandwidth = read_gb_per_s();
  Json rows = Json::array();
  for (const char* name : {"fp32", "bf16", "int8"}) {
    kernels::PackedMatrix packed;
    kernels::pack_transposed(weights.data(), columns, inner, packed, format_of(name));
    const double peak = peak_gflops(format_of(name));
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
  CLI11_PARSE(app, argc, argv);
  set_threads(options.threads);
  const Json out = decoding->parsed()  ? rollout(options)
                   : prompts->parsed() ? prefill(options)
                   : soak->parsed()    ? Soak(options).run()
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
