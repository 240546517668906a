// When a response ends before its end token and its limit, and when its thinking does.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/config.h"
#include "core/text/pieces.h"
#include "core/types.h"

namespace vernier {

/// Of a response whose thinking was ended by thinking_budget.
inline constexpr const char* kThinkingBudgetFlag = "thinking_budget";

/// A part of [rollout].
struct EndingConfig {
  std::vector<std::string> stop = {};
  std::vector<int64_t> stop_token_ids = {};
  int64_t thinking_budget = 0;
  int64_t repetition_ngram = 0, repetition_limit = 4;

  void bind(Binder& config, int64_t max_completion_length, const std::string& think_end);
};

/// Looks for texts in a growing text. What a byte costs depends on the texts alone.
class StopTexts {
 public:
  explicit StopTexts(std::vector<std::string> texts);

  /// How far each text has come, and the first that is complete (-1: none).
  struct State {
    std::vector<int32_t> matched;  // bytes; empty before the first one
    int32_t found = -1;
  };
  void add(State& state, std::string_view bytes) const;

  const std::string& text(int32_t i) const { return texts_[static_cast<size_t>(i)]; }
  bool empty() const { return texts_.empty(); }

 private:
  std::vector<std::string> texts_;
  std::vector<std::vector<int32_t>> fallback_;  // Knuth, Morris and Pratt's, of each text
};

/// True where the thinking is open after a prompt: without a start tag always, else where the last
/// tag of the prompt opens it.
bool thinking_is_open(std::span<const int32_t> prompt_ids, int32_t think_start, int32_t think_end);

/// The rules for responses that are drawn alike, on any thread. What a token costs does not depend
/// on the length of the response.
class Endings {
 public:
  /// The tags are token ids, negative where there is none. Throws UsageError where stop texts
  /// cannot be followed in this tokenizer's text.
  Endings(const EndingConfig& config, int32_t think_start, int32_t think_end,
          const Tokenizer& tokenizer);

  /// Of one response.
  struct State {
    bool open = false, closed = false;  // the thinking
    int64_t thought = 0;                // tokens since it opened
    std::vector<int64_t> repeats;       // by period - 1: tokens in a row equal to those before
    bool begun = false;                 // the text has a token
    StopTexts::State text;              // of the text, less the run of byte tokens at its end
    // That run: as text, and as U+FFFD; and its last character, where that is not complete.
    StopTexts::State bytes, marks;
    std::string character;
    bool in_run = false, broken = false;
  };
  State begin(std::span<const int32_t> prompt_ids) const;

  /// The token that comes next whatever the model says: the end of the thinking. -1: none.
  int32_t forced(const State& state) const;

  struct End {
    FinishReason reason;
    std::string flag;
  };
  /// Takes in the newest token of a response. What it ends by, if it does: a token of
  /// stop_token_ids, else the stop text that is complete first, else repetition.
  std::optional<End> add(State& state, std::span<const int32_t> ids) const;

 private:
  void think(State& state, int32_t id) const;
  bool repeats(State& state, std::span<const int32_t> ids) const;
  int32_t read(State& state, int32_t id) const;
  void read_byte(State& state, const Piece& piece) const;

  const EndingConfig& config_;
  int32_t think_start_, think_end_;
  StopTexts stops_;
  std::optional<TokenPieces> pieces_;  // where there are stop texts
};

}  // namespace vernier
