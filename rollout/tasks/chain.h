// Chains of thought of the task families: the states of an algorithm, one after another, and which
// parts of a state are written.
//
//   3:[7,8,1]7+8+1=16>6{1}|12,45;
//   ^  ^      ^       ^ ^  ^
//   |  input  computation  |  remaining input
//   label          output  variables
//
// The parts are those of the unified scratchpad of Kazemnejad et al., "The Impact of Positional
// Encoding on Length Generalization in Transformers", arXiv:2305.19466; the three switches of TAIL
// are `linear`, `atomic` and `input`, its memory fetcher.
#pragma once

#include <span>
#include <string>

#include "core/base/config.h"

namespace vernier {

/// One elementary state.
struct ChainState {
  std::string input;        // operands, fetched from the question or from the state before
  std::string computation;  // "7+8+1=16"
  std::string output;       // the elementary result
  std::string variables;    // what is carried on
  std::string remaining;    // what has not been read yet
};

/// Which parts a chain shows.
struct ChainFormat {
  bool linear = true;  // every state, labelled in order; else every second one, without labels
  bool atomic = true;  // one state at a time; else two in one, of which the second is computed
  bool input = true, computation = true, output = true, variables = true, remaining = false;

  void bind(Binder& config);
};

/// The states as text, each closed by ";". The last state is always there.
std::string chain_text(std::span<const ChainState> states, const ChainFormat& format);

}  // namespace vernier
