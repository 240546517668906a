// Labelled chain sum: the sum of n digits modulo 10, with answers of every length.
//
// Prompt `a3b8c5d9e2=`; answer `#` digit `.`. A response is right when it ends in `#d.`, has
// exactly one `#`, and d is right. The styles of the demonstrations differ in length and in what
// they can do:
//
//   D direct   #7.                            too hard for a small model from n = 3
//   T2 chunked a3c=6e=7#7.                    two operands a step, neither restated
//   T1 terse   a3b=1c=6d=5e=7#7.              one operand a step, not restated
//   F full     a3b8+3=1c5+1=6d9+6=5e2+5=7#7.  operand fetched, running value restated, result
//   W waffle   F with 2 to 8 `~` before every step: longer, no better
//   X detour   F with pairs `~k+v=w~(10-k)+w=v` that lead back: every step more can go wrong
//
// So accuracy rises with length and falls again: the inverted U, by construction.
#include <algorithm>
#include <array>
#include <numeric>
#include <vector>

#include "core/base/errors.h"
#include "core/base/rng.h"
#include "rollout/tasks/task.h"

namespace vernier {
namespace {

constexpr int64_t kMaxTerms = 8;
enum class Style { direct, chunked, terse, full, waffle, detour };
constexpr std::array kStyleNames = {"D", "T2", "T1", "F", "W", "X"};

char digit(int64_t value) { return static_cast<char>('0' + value); }
char label(int64_t index) { return static_cast<char>('a' + index); }

std::vector<int64_t> draw_terms(Rng& rng, int64_t fewest, int64_t most) {
  std::vector<int64_t> terms(static_cast<size_t>(fewest + rng.next_below(most - fewest + 1)));
  for (int64_t& term : terms) term = rng.next_below(10);
  return terms;
}

std::string prompt_text(const std::vector<int64_t>& terms) {
  std::string text;
  for (size_t i = 0; i < terms.size(); ++i)
    text += cat(label(static_cast<int64_t>(i)), digit(terms[i]));
  return text + "=";
}

// Writes a chain of additions, each result wrong with the style's probability; the chain goes on
// from what was written, so errors compound.
class Writer {
 public:
  Writer(const std::vector<int64_t>& terms, Style style, double error_rate, Rng& rng)
      : terms_(terms), style_(style), error_rate_(error_rate), rng_(rng) {}

  std::string write() {
    value_ = terms_[0];
    if (style_ == Style::direct) {
      value_ = std::accumulate(terms_.begin(), terms_.end(), int64_t{0}) % 10;
    } else {
      out_ = cat(label(0), digit(value_));
      if (style_ == Style::chunked)
        write_chunks();
      else
        write_steps();
    }
    return out_;
  }

  int64_t value() const { return value_; }

 private:
  int64_t last() const { return static_cast<int64_t>(terms_.size()) - 1; }

  // The running value plus `term`, as it gets written: usually right.
  int64_t result(int64_t term) {
    const int64_t right = (value_ + term) % 10;
    return rng_.next_uniform() < error_rate_ ? (right + 1 + rng_.next_below(9)) % 10 : right;
  }

  void write_chunks() {
    for (int64_t i = 1; i <= last(); i += 2) {
      const int64_t end = std::min(i + 1, last());
      value_ = result(terms_[i] + (end > i ? terms_[end] : 0));
      out_ += cat(label(end), '=', digit(value_));
    }
  }

  void write_steps() {
    for (int64_t i = 1; i <= last(); ++i) {
      if (style_ == Style::waffle) out_.append(static_cast<size_t>(2 + rng_.next_below(7)), '~');
      const int64_t before = value_;
      value_ = result(terms_[i]);
      if (style_ == Style::terse)
        out_ += cat(label(i), '=', digit(value_));
      else
        out_ += cat(label(i), digit(terms_[i]), '+', digit(before), '=', digit(value_));
      if (style_ == Style::detour) maybe_detour(i);
    }
  }

  void maybe_detour(int64_t step) {
    constexpr int64_t kMostDetours = 4;
    constexpr double kRate = 0.45;
    const bool wanted = rng_.next_uniform() < kRate && detours_ < kMostDetours;
    if (!wanted && !(step == last() && detours_ == 0)) return;
    ++detours_;
    const int64_t there = 1 + rng_.next_below(9);
    for (const int64_t term : {there, 10 - there}) {
      const int64_t before = value_;
      value_ = result(term);
      out_ += cat('~', digit(term), '+', digit(before), '=', digit(value_));
    }
  }

  const std::vector<int64_t>& terms_;
  Style style_;
  double error_rate_;
  Rng& rng_;
  std::string out_;
  int64_t value_ = 0, detours_ = 0;
};

struct Options {
  int64_t min_terms = 2, max_terms = kMaxTerms;
  // Shares of the styles in the order of Style; mistakes in a written result; share without `#`.
  std::vector<double> mix = {0.08, 0.07, 0.10, 0.20, 0.40, 0.15};
  double error_rate = 0.03, waffle_error_rate = 0.015, unmarked_rate = 0.05;

  void bind(Binder& config) {
    config.number("min_terms", min_terms, 2, kMaxTerms, "fewest digits of a sum");
    config.number("max_terms", max_terms, 2, kMaxTerms, "most digits of a sum");
    config.list("mix", mix, 0.0, 1.0,
                "shares of the demonstrations' styles D, T2, T1, F, W, X; they add up to 1");
    config.number("error_rate", error_rate, 0.0, 1.0, "wrong results in the demonstrations");
    config.number("waffle_error_rate", waffle_error_rate, 0.0, 1.0, "the same in style W");
    config.number("unmarked_rate", unmarked_rate, 0.0, 1.0, "demonstrations without their `#`");
    if (min_terms > max_terms) config.error("min_terms", "is above max_terms");
    const double sum = std::accumulate(mix.begin(), mix.end(), 0.0);
    if (mix.size() != kStyleNames.size() || sum < 1 - 1e-9 || sum > 1 + 1e-9)
      config.error("mix", cat("has ", mix.size(), " shares with sum ", fixed(sum, 3),
                              "; expected 6 with sum 1"));
  }
};

Style draw_style(const std::vector<double>& mix, Rng& rng) {
  double left = rng.next_uniform();
  size_t style = 0;
  while (style + 1 < mix.size() && left >= mix[style]) left -= mix[style++];
  return static_cast<Style>(style);
}

Prompt make_prompt(const Options& options, const PromptPlace& place) {
  Rng rng(place.seed, Stream::task, static_cast<uint64_t>(place.index));
  const std::vector<int64_t> terms = draw_terms(rng, options.min_terms, options.max_terms);
  Prompt prompt;
  prompt.id = cat("chain_sum-", place.index);
  prompt.index = place.index;
  prompt.text = prompt_text(terms);
  prompt.answer = cat(std::accumulate(terms.begin(), terms.end(), int64_t{0}) % 10);
  prompt.verify = "final_digit";
  prompt.task = "chain_sum";
  prompt.difficulty = static_cast<double>(terms.size());
  return prompt;
}

Demonstration make_demonstration(const Options& options, uint64_t seed, int64_t index,
                                 int64_t hardest) {
  Rng rng(seed, Stream::sft, static_cast<uint64_t>(index));
  const int64_t most = hardest > 0 ? hardest : options.max_terms;
  ensure(most >= options.min_terms && most <= options.max_terms, "a difficulty of the family");
  const std::vector<int64_t> terms = draw_terms(rng, options.min_terms, most);
  const Style style = draw_style(options.mix, rng);
  Writer writer(terms, style,
                style == Style::waffle ? options.waffle_error_rate : options.error_rate, rng);
  std::string response = writer.write();
  const bool marked = rng.next_uniform() >= options.unmarked_rate;
  response += cat(marked ? "#" : "", digit(writer.value()), '.');
  return {prompt_text(terms), response, kStyleNames[static_cast<size_t>(style)]};
}

const TaskRegistry::Entry entry{
    "chain_sum", "sum of 2 to 8 labelled digits modulo 10; answers of 3 to 120 characters",
    [](Binder& config) {
      Options options;
      options.bind(config);
      auto task = std::make_unique<Task>();
      task->easiest = options.min_terms;
      task->hardest = options.max_terms;
      task->prompt = [options](const PromptPlace& place) { return make_prompt(options, place); };
      task->demonstrate = [options](uint64_t seed, int64_t index, int64_t hardest) {
        return make_demonstration(options, seed, index, hardest);
      };
      return task;
    }};

}  // namespace
}  // namespace vernier
