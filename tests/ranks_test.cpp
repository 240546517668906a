// Ranks over gloo, in processes of their own.
#include "core/comm/ranks.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <numeric>
#include <set>

#include "core/base/errors.h"
#include "core/comm/slices.h"
#include "core/kernels/threads.h"
#include "tests/ranks_case.h"
#include "trainer/gradient_sum.h"
#include "trainer/sharing.h"
#include "trainer/trainee.h"

namespace vernier {
namespace testing {
namespace {

// Throws where it does not hold: doctest's own checks are not for a rank.
void hold(bool ok, const std::string& what) {
  if (!ok) throw BugError(what);
}

void check_bytes(Ranks& ranks) {
  const auto rank = static_cast<size_t>(ranks.rank()), size = static_cast<size_t>(ranks.size());
  // Lengths differ, and the first is empty.
  const std::vector<std::string> all = ranks.gather(std::string(rank * 1000, 'a'), "gather");
  for (size_t r = 0; r < size; ++r) hold(all[r] == std::string(r * 1000, 'a'), "gathered bytes");
  const std::vector<std::string> first = ranks.gather_to_first(cat("of ", rank), "to first");
  for (size_t r = 0; r < size; ++r)
    hold(first[r] == (rank == 0 ? cat("of ", r) : std::string()), "bytes at the first rank");
  std::vector<std::string> to_each;
  for (size_t r = 0; r < size; ++r) to_each.push_back(cat(rank, " to ", r, std::string(r, '.')));
  const std::vector<std::string> got = ranks.exchange(to_each, "exchange");
  for (size_t r = 0; r < size; ++r)
    hold(got[r] == cat(r, " to ", rank, std::string(rank, '.')), "exchanged bytes");
  hold(ranks.from_first(rank == 0 ? "zero" : "mine", "from first") == "zero", "bytes of rank 0");
  hold(ranks.any(rank + 1 == size, "any"), "any");
  hold(!ranks.any(false, "none"), "none");
  hold(ranks.gather_numbers(ranks.rank() - 5, "numbers").back() == ranks.size() - 6, "numbers");
}

// Everyone of 40 is claimed once.
void check_claims(Ranks& ranks) {
  for (int round = 0; round < 2; ++round) {
    ranks.begin_claims();
    std::string mine;
    for (int64_t place = ranks.claim(); place < 40; place = ranks.claim())
      mine += static_cast<char>(place);
    std::multiset<char> seen;
    for (const std::string& one : ranks.gather(mine, "claims")) seen.insert(one.begin(), one.end());
    hold(seen.size() == 40 && std::set(seen.begin(), seen.end()).size() == 40, "claims");
  }
}

at::Tensor part_of(int64_t part, int64_t count) {
  // Magnitudes that make the order of a sum visible.
  return at::arange(count, at::kFloat)
      .add_(1)
      .mul_(part % 2 == 0 ? 1e-3F : 1e4F)
      .add_(static_cast<float>(part));
}

at::Tensor tree(int64_t first, int64_t parts, int64_t count) {
  if (parts == 1) return part_of(first, count);
  return tree(first, parts / 2, count) + tree(first + parts / 2, parts / 2, count);
}

// The sum of [first, last) of buffers, and the way back.
void check_stretch(Ranks& ranks, int64_t count, int64_t first, int64_t last) {
  const Slices slices(count, ranks.size());
  const at::Tensor sum = tree(0, ranks.size(), count);
  at::Tensor slice = at::full({slices.each()}, 7.0F);
  int64_t summed = 0;
  ranks.sum_to_slices(
      part_of(ranks.rank(), count), first, last,
      [&](int64_t place, const at::Tensor& piece) {
        slice.narrow(0, place, piece.numel()).copy_(piece);
        summed += piece.numel();
      },
      "sum");
  int64_t own = 0;
  slices.for_blocks(ranks.rank(), first, last, [&](int64_t at, int64_t place, int64_t some) {
    hold(at::equal(slice.narrow(0, place, some), sum.narrow(0, at, some)),
         cat("the slice of a sum of ", first, " to ", last));
    own += some;
  });
  hold(own == summed, "all of a slice and no more");
  at::Tensor whole = at::full({count}, 3.0F);
  ranks.gather_slices(slice, whole, first, last, "gather");
  at::Tensor expected = at::full({count}, 3.0F);
  expected.narrow(0, first, last - first).copy_(sum.narrow(0, first, last - first));
  hold(at::equal(whole, expected), cat("gathered ", first, " to ", last));
}

void check_sums(Ranks& ranks) {
  constexpr int64_t kBlock = Slices::kBlock;
  for (const int64_t count :
       {int64_t{1}, int64_t{31}, kBlock, 3 * kBlock + 257, 41 * kBlock + 33}) {
    check_stretch(ranks, count, 0, count);
    check_stretch(ranks, count, count / 3, count / 3 + 1);
    check_stretch(ranks, count, count / 4, count - count / 5);
    // Each rank's part in its place in the whole.
    const at::Tensor all = part_of(5, count);
    at::Tensor whole = at::full({count}, 3.0F);
    Slices(count, ranks.size())
        .for_blocks(ranks.rank(), 0, count, [&](int64_t at, int64_t, int64_t some) {
          whole.narrow(0, at, some).copy_(all.narrow(0, at, some));
        });
    ranks.gather_slices(whole, "gather in place");
    hold(at::equal(whole, all), "what every rank has of a buffer");
  }
}

ModelSpec small_spec(bool tied) {
  ModelSpec spec;
  spec.vocab_size = 97;
  spec.hidden_size = 128;
  spec.intermediate_size = 192;
  spec.num_hidden_layers = 3;
  spec.num_attention_heads = 4;
  spec.num_key_value_heads = 2;
  spec.head_dim = 32;
  spec.max_position_embeddings = 64;
  spec.tie_word_embeddings = tied;
  return spec;
}

std::unique_ptr<Decoder> small_decoder(bool tied = true) {
  auto decoder = std::make_unique<Decoder>(small_spec(tied), true);
  decoder->randomize(7, 0.02, 1.0);
  return decoder;
}

// Log-probabilities of some tokens that depend on `part`.
at::Tensor some_logprobs(Decoder& decoder, int64_t part) {
  std::vector<int32_t> ids, targets;
  for (int32_t t = 0; t < 9 + part; ++t) {
    ids.push_back(static_cast<int32_t>((t * 31 + part * 17) % 97));
    targets.push_back(static_cast<int32_t>((t * 13 + part) % 97));
  }
  PackedTokens tokens;
  tokens.add(ids);
  return decoder.logprobs(decoder.hidden(tokens), targets, 0.9).logprob;
}

// A step on parts of which the odd ones have two micro-batches, the others one.
double step(Decoder& decoder, OptimizerState& state, const Team& team) {
  GradientSum sum(team, decoder);
  for (int64_t i = 0; i < 2; ++i)
    for (int64_t round = 0; round < team.rounds(); ++round) {
      const int64_t part = round * team.trainers.size() + team.trainers.rank();
      if (i <= part % 2)
        some_logprobs(decoder, part + 8 * i).sum().backward();
      else if (decoder.store() != nullptr)
        decoder.join_pass(true);
      sum.add();
    }
  at::Tensor& gradient = sum.finish(state.is_slice());
  return apply_update(decoder, state, gradient, {}, 1e-2, team.trainers).grad_norm;
}

// Passes without gradient, of which the last rank makes one more.
std::vector<at::Tensor> score(Decoder& decoder, const Team& team) {
  const at::NoGradGuard no_grad;
  const int64_t passes = team.trainers.rank() + 1 == team.trainers.size() ? 2 : 1;
  std::vector<at::Tensor> out;
  make_passes(decoder, team, passes,
              [&](int64_t i) { out.push_back(some_logprobs(decoder, 40 + i)); });
  return out;
}

// Steps with weights that are shared out are those with whole weights, bit for bit.
void check_sharded_weights(Ranks& ranks) {
  const Team team{.ranks = ranks, .trainers = ranks, .deterministic = true};
  for (const bool tied : {true, false})
    for (const bool recompute : {true, false}) {
      if (ranks.size() > 4 && recompute == tied) continue;  // more processes than cores
      const std::unique_ptr<Decoder> whole = small_decoder(tied);
      Decoder cut(small_spec(tied), true);
      cut.training.recompute = recompute;
      const std::unique_ptr<ShardedWeights> weights = sharded_copy(cut, team, *whole);
      OptimizerState of_whole(*whole), of_cut(cut, false, ranks);
      for (int i = 0; i < 2; ++i) {
        hold(step(*whole, of_whole, team) == step(cut, of_cut, team), "norms of gradients");
        at::Tensor gathered = at::zeros_like(whole->weights());
        weights->gather(gathered);
        hold(at::equal(gathered, whole->weights()), "weights after a step");
        const std::vector<at::Tensor> expected = score(*whole, team), found = score(cut, team);
        for (size_t k = 0; k < expected.size(); ++k)
          hold(at::equal(expected[k], found[k]), "log-probabilities");
      }
      const std::unique_ptr<Decoder> fresh = small_decoder(tied);
      weights->take(fresh->weights());
      for (const NamedSlice& slice : cut.slices())
        hold(at::equal(cut.slice(slice), fresh->slice(slice)), slice.name);
    }
}

// Two micro-batches a part.
void check_gradient_sum(Ranks& ranks) {
  const std::unique_ptr<Decoder> decoder = small_decoder();
  at::Tensor& gradients = decoder->gradients();
  const int64_t count = gradients.numel();
  hold(count > 2 * Slices::kBlock, "several blocks");
  for (const bool slice : {true, false})
    for (const bool deterministic : {true, false}) {
      const Team team{.ranks = ranks, .trainers = ranks, .deterministic = deterministic};
      const int64_t parts = team.parts();
      GradientSum sum(team, *decoder);
      for (int64_t i = 0; i < 2; ++i)
        for (int64_t round = 0; round < team.rounds(); ++round) {
          gradients.add_(part_of(i * parts + round * ranks.size() + ranks.rank(), count));
          if (sum.by_pass()) sum.add();
        }
      if (!sum.by_pass()) sum.add();
      at::Tensor expected = tree(0, parts, count);
      if (deterministic) {
        expected += tree(parts, parts, count);
      } else {
        std::vector<at::Tensor> own;
        for (int64_t r = 0; r < parts; ++r)
          own.push_back(part_of(r, count) + part_of(parts + r, count));
        for (; own.size() > 1; own.resize((own.size() + 1) / 2))
          for (size_t k = 0; k < own.size() / 2; ++k) own[k] = own[2 * k] + own[2 * k + 1];
        expected = own.front();
      }
      const at::Tensor& found = sum.finish(slice);
      if (!slice || parts == 1) {
        hold(at::equal(found, expected), "the sum of all parts");
      } else {
        Slices(count, ranks.size())
            .for_blocks(ranks.rank(), 0, count, [&](int64_t at, int64_t place, int64_t some) {
              hold(at::equal(found.narrow(0, place, some), expected.narrow(0, at, some)),
                   "a slice of the sum of all parts");
            });
      }
      gradients.zero_();
    }
}

}  // namespace

int check_ranks() {
  set_threads(1);  // there are more ranks than cores
  const Identity identity = identity_from(process_environment());
  Ranks ranks(identity, {.interface = "", .deadline_s = 20, .start_deadline_s = 60, .workers = {}},
              nullptr);
  try {
    check_bytes(ranks);
    check_claims(ranks);
    check_sums(ranks);
    check_gradient_sum(ranks);
    check_sharded_weights(ranks);
    ranks.leave();
    return 0;
  } catch (const std::exception& problem) {
    std::fprintf(stderr, "rank %d: %s\n", static_cast<int>(identity.rank), problem.what());
    ranks.fail(problem.what(), 1);
    return 1;
  }
}

}  // namespace testing

namespace {

int run_ranks(int ranks) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    const std::string count = cat(ranks);
    ::execl("/proc/self/exe", "vernier_tests", "--ranks", count.c_str(), nullptr);
    ::_exit(99);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

TEST_CASE("ranks: every collective between 2, 4 and 8 processes") {
  for (const int ranks : {2, 4, 8}) {
    CAPTURE(ranks);
    CHECK(run_ranks(ranks) == 0);
  }
}

TEST_CASE("ranks: alone they give back what they were given") {
  Ranks ranks;
  CHECK(ranks.gather("x", "gather") == std::vector<std::string>{"x"});
  CHECK(ranks.exchange({"y"}, "exchange") == std::vector<std::string>{"y"});
  CHECK(ranks.any(true, "any"));
  const std::unique_ptr<Decoder> decoder = testing::small_decoder();
  decoder->gradients().add_(1.5F);
  const at::Tensor before = decoder->gradients().clone();
  GradientSum sum(Team::alone(), *decoder);
  sum.add();
  CHECK(at::equal(sum.finish(false), before));
}

TEST_CASE("ranks: eight virtual shards of one process are a tree") {
  Ranks ranks;
  testing::check_gradient_sum(ranks);
}

TEST_CASE("sharing: parts of an update") {
  const std::vector<int64_t> tokens = {5, 5, 1, 1, 9, 9, 2, 2};
  const std::vector<size_t> groups = {0, 0, 1, 1, 2, 2, 3, 3};
  // Virtual shards are neighbours by count.
  CHECK(parts_of(8, true, tokens, groups) == std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7});
  CHECK(parts_of(4, true, tokens, groups) == std::vector<int64_t>{0, 0, 1, 1, 2, 2, 3, 3});
  // Ranks get whole groups, and about as many tokens.
  CHECK(parts_of(2, false, tokens, groups) == std::vector<int64_t>{1, 1, 1, 1, 0, 0, 1, 1});
  CHECK(parts_of(1, false, tokens, groups) == std::vector<int64_t>(8, 0));
}

}  // namespace vernier
