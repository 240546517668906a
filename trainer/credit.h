// From the rewards of groups to the advantages of their responses and tokens.
#pragma once

#include <span>

#include "core/metrics/metrics.h"
#include "trainer/gradient_sum.h"
#include "trainer/update.h"

namespace vernier {

/// What gives the tokens their numbers where credit asks for them.
struct CreditModels {
  Decoder* policy = nullptr;
  // Where Algorithm::reference_kl() asks for one; of a decoder with adapters the weights without.
  Decoder* reference = nullptr;
  double temperature = 1;
  int64_t max_tokens = 0;  // of a micro-batch
};

/// Writes the advantages of a step into its responses, and a KL that is in the reward to `metrics`.
/// Groups of other ranks are among them by their numbers.
void assign_credit(Algorithm& algorithm, std::span<Group> groups, const CreditModels& models,
                   Metrics& metrics, const Team& team = Team::alone());

/// Fills Sample::old (or ::reference, of a decoder with adapters without them) by one pass without
/// gradient over `decoder`. On all ranks that train.
void fill_logprobs(Decoder& decoder, Update& update, double temperature, int64_t max_tokens,
                   bool reference, const Team& team = Team::alone());

}  // namespace vernier
