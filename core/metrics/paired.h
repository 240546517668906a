// Two sides on the same prompts: is what differs more than chance, and more than length?
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/metrics/statistics.h"

namespace vernier {

/// Two-sided p-value of the hypothesis that each difference, of one prompt, is as likely to be of
/// either sign: how often signs that are drawn give a sum at least as far from 0. All signs for up
/// to 16 differences that are not 0; else (1 + hits) / (1 + draws) of as many as are asked for,
/// which is a valid p-value too (Phipson and Smyth, "Permutation P-values should never be zero",
/// 2010). 1 where there are none.
double sign_flip_p(std::span<const double> differences, const Bootstrap& draws);

/// Holm's step-down: p-values that hold together at any level, in the order of `p`. Holm, "A simple
/// sequentially rejective multiple test procedure", 1979.
std::vector<double> holm(std::span<const double> p);

/// A prompt that both sides answered.
struct PairedPrompt {
  double preference = 0.5;       // share of wins of the first; a tie is half a win
  double length_difference = 0;  // the first less the second
  double difficulty = 0;         // high where prompts are easy: the logit of both sides' pass rate
};

/// How often the first wins, and how often it would at equal lengths.
struct LengthControl {
  double win = kUndefined, controlled = kUndefined;  // shares
  double length_effect = kUndefined;                 // phi; above 0: whoever is longer wins
  double length_error = kUndefined;                  // its standard error
};

/// Fits, by Newton's method,
///
///   P(first wins) = logistic(theta + phi tanh(d / s) + psi g)
///
/// d: length difference, s its standard deviation, g: difficulty less its mean; cross-entropy
/// summed over prompts plus |(theta, phi, psi)|^2 / 2. `controlled` is the mean of that without the
/// phi term, so that a side against itself has 1/2, and the two of a pair have 1 together.
///
/// Dubois et al., "Length-Controlled AlpacaEval", arXiv:2404.04475; tatsu-lab/alpaca_eval fits with
/// an L1 penalty that cross-validation chooses, difficulties over many models, and rows that guard
/// against gaming. Here the penalty is fixed, and difficulties come from the two alone.
///
/// `counts`: how often each prompt is there, as a bootstrap draws it; once where it is empty. s and
/// the mean difficulty are those of all.
LengthControl length_controlled(std::span<const PairedPrompt> prompts,
                                std::span<const double> counts = {});

/// The same with 95 % intervals of both shares over prompts.
struct LengthControlEstimate {
  Estimate win, controlled;
  double length_effect = kUndefined, length_error = kUndefined;
};
LengthControlEstimate estimate_length_control(std::span<const PairedPrompt> prompts,
                                              const Bootstrap& bootstrap);

/// Accuracy Efficiency Score of (accuracy, length) against a reference: the share of tokens saved,
/// plus `gain` times the relative change of accuracy where that is not a loss, less `loss` times it
/// where it is. NaN where the reference has no length or no accuracy. O1-Pruner, arXiv:2501.12570,
/// has 3 and 5; DRPO's reported values fit a loss of 10 (inferred, not read).
struct AesFactors {
  double gain = 3, loss = 10;
};
double accuracy_efficiency_score(double accuracy, double length, double reference_accuracy,
                                 double reference_length, const AesFactors& factors);

}  // namespace vernier
