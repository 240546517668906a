// Asks for a length: what a prompt says of how long its answer is to be.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/base/config.h"
#include "core/types.h"
#include "rewards/length_table.h"

namespace vernier {

/// [data.length_request]. A row's own target_length stands; another prompt's target is drawn by its
/// place in the data, from `targets` or evenly from [low, high].
///
///   suffix    the text goes behind the prompt (L1: "Think for n tokens.")
///   priming   the same, with the prompt's own words counted (InstructCMP)
///   token     the text opens the response, as a control token does (Ruler: "[MLT:n]"); it is part
///             of the rendered prompt and of no length; of no loss either, but with learn_token of
///             the warm start's, so that a model learns to open its responses with one by itself
///
/// `table` names the lengths in place of targets and range: those of a LengthTable, by whose names
/// rows ask.
///
/// In the text {budget} stands for the target, {prompt_words} for the words of the prompt between
/// white space, {deleted} for how many fewer the target is (0 at least). A share of the targets is
/// "at most": their texts are text_at_most, and the row's target_length is negative, as L1 writes
/// it.
struct LengthRequest {
  std::string mode = "none";
  std::string text, text_at_most;
  std::vector<int64_t> targets;
  int64_t low = 100, high = 4000, seed = 0;
  double at_most_share = 0;
  bool learn_token = false;
  std::shared_ptr<const LengthTable> table;  // in place of targets, low and high

  void bind(Binder& config);

  /// Sets the target of a demonstration's prompt: the length that its response has, `tokens` or in
  /// the table's unit, or the target that such lengths teach. Where none does, it asks for nothing.
  void ask_for(Prompt& prompt, const std::string& response, int64_t tokens) const;
  /// Keeps apply() from asking for any length.
  static void ask_for_none(Prompt& prompt);

  /// Sets the target of a prompt that has none, and adds the text of modes suffix and priming.
  void apply(Prompt& prompt) const;
  /// Targets that apply() may set, below 0 where they are the most: each of `targets` or of
  /// `table`; of a range the two least, since some rewards know single lengths alone, and the
  /// largest.
  std::vector<std::string> possible_targets() const;
  /// Gives a prompt that apply() would draw a target for the one of possible_targets() with the
  /// longest text. False where it would not.
  bool set_longest(Prompt& prompt) const;
  /// What opens the response to a prompt that apply() has seen; "" where nothing does.
  std::string opening(const Prompt& prompt) const;

 private:
  void add_request(Prompt& prompt) const;
  std::string text_of(const Prompt& prompt) const;
};

}  // namespace vernier
