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
#include "tests/ranks_case.h"
#include "trainer/gradient_sum.h"
#include "trainer/sharing.h"

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

void check_sums(Ranks& ranks) {
  for (const int64_t count : {int64_t{1}, int64_t{31}, int64_t{65536}, 3 * Slices::kBlock + 257,
                              9 * Slices::kBlock + 33}) {
    const Slices slices(count, ranks.size());
    at::Tensor slice = at::full({slices.each}, 7.0F);
    ranks.sum_to_slices(part_of(ranks.rank(), count), slice, "sum");
    const at::Tensor sum = tree(0, ranks.size(), count);
    const int64_t own = slices.size(ranks.rank());
    hold(at::equal(slice.narrow(0, 0, own), sum.narrow(0, slices.begin(ranks.rank()), own)),
         cat("the slice of a sum of ", count));
    at::Tensor whole = at::full({count}, 3.0F);
    whole.narrow(0, slices.begin(ranks.rank()), own).copy_(slice.narrow(0, 0, own));
    ranks.gather_slices(whole, "gather");
    hold(at::equal(whole, sum), cat("gathered slices of ", count));
  }
}

void check_gradient_sum(Ranks& ranks) {
  const int64_t count = 2 * Slices::kBlock + 31;
  for (const bool deterministic : {true, false}) {
    const Team team{.ranks = ranks, .trainers = ranks, .deterministic = deterministic};
    at::Tensor gradients = at::zeros({count});
    GradientSum sum(team, gradients);
    for (int64_t round = 0; round < team.rounds(); ++round) {
      gradients.add_(part_of(round * ranks.size() + ranks.rank(), count));
      sum.add();
    }
    sum.finish();
    hold(at::equal(gradients, tree(0, team.parts(), count)), "the tree of all parts");
  }
}

}  // namespace

int check_ranks() {
  const Identity identity = identity_from(process_environment());
  Ranks ranks(identity, {.interface = "", .deadline_s = 20, .start_deadline_s = 60, .workers = {}},
              nullptr);
  try {
    check_bytes(ranks);
    check_claims(ranks);
    check_sums(ranks);
    check_gradient_sum(ranks);
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
  at::Tensor gradients = at::arange(100, at::kFloat);
  const at::Tensor before = gradients.clone();
  GradientSum sum(Team::alone(), gradients);
  sum.add();
  sum.finish();
  CHECK(at::equal(gradients, before));
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
