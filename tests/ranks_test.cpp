// Ranks over gloo, in processes of their own.
#include "core/comm/ranks.h"

#include <ATen/ATen.h>
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <numeric>
#include <set>
#include <thread>

#include "core/base/errors.h"
#include "core/comm/nccl_environment.h"
#include "core/comm/slices.h"
#include "core/kernels/threads.h"
#include "tests/device_arrays.h"
#include "tests/ranks_case.h"
#include "trainer/gradient_sum.h"
#include "trainer/sharing.h"
#include "trainer/trainee.h"

namespace vernier {
namespace testing {
namespace {

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
void check_stretch(Ranks& ranks, at::Device device, int64_t count, int64_t first, int64_t last) {
  const Slices slices(count, ranks.size());
  const at::Tensor sum = tree(0, ranks.size(), count).to(device);
  at::Tensor slice = at::full({slices.each()}, 7.0F, device);
  int64_t summed = 0;
  ranks.sum_to_slices(
      part_of(ranks.rank(), count).to(device).narrow(0, first, last - first), first, count,
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
  at::Tensor gathered = at::full({last - first}, 3.0F, device);
  ranks.gather_slices(slice, gathered, first, count, "gather");
  hold(at::equal(gathered, sum.narrow(0, first, last - first)),
       cat("gathered ", first, " to ", last));
}

// A sum and a gathering of several buckets each that are on their way at once.
void check_pending(Ranks& ranks, at::Device device) {
  const int64_t count = (device.is_cpu() ? 70 : 600) * Slices::kBlock + 33;
  const Slices slices(count, ranks.size());
  const at::Tensor sum = tree(0, ranks.size(), count).to(device),
                   all = part_of(3, count).to(device);
  at::Tensor own = at::zeros({slices.each()}, all.options());
  slices.for_blocks(ranks.rank(), 0, count, [&](int64_t at, int64_t place, int64_t some) {
    own.narrow(0, place, some).copy_(all.narrow(0, at, some));
  });
  for (const bool crossed : {false, true}) {
    at::Tensor slice = at::zeros_like(own), whole = at::zeros_like(all), late = at::zeros_like(own),
               mine = at::zeros_like(all);
    if (device.is_cuda()) {  // what is exchanged is ready behind work that is on its way
      at::Tensor busy = at::eye(8192, all.options());
      for (int i = 0; i < 20; ++i) busy = at::mm(busy, busy);
    }
    late.copy_(own);
    mine.copy_(part_of(ranks.rank(), count).to(device));
    const auto take = [&](int64_t place, const at::Tensor& piece) {
      slice.narrow(0, place, piece.numel()).copy_(piece);
    };
    const auto summing = ranks.begin_sum_to_slices(mine, 0, count, take, "sum");
    const auto gathering = ranks.begin_gather_slices(late, whole, 0, count, "gather");
    (crossed ? gathering : summing)->finish();
    (crossed ? summing : gathering)->finish();
    hold(at::equal(whole, all), "gathered beside a sum");
    slices.for_blocks(ranks.rank(), 0, count, [&](int64_t at, int64_t place, int64_t some) {
      hold(at::equal(slice.narrow(0, place, some), sum.narrow(0, at, some)),
           "summed beside a gathering");
    });
  }
}

void check_sums(Ranks& ranks, at::Device device) {
  check_pending(ranks, device);
  constexpr int64_t kBlock = Slices::kBlock;
  for (const int64_t count :
       {int64_t{1}, int64_t{31}, kBlock, 3 * kBlock + 257, 41 * kBlock + 33}) {
    check_stretch(ranks, device, count, 0, count);
    check_stretch(ranks, device, count, count / 3, count / 3 + 1);
    check_stretch(ranks, device, count, count / 4, count - count / 5);
    // Each rank's part in its place in the whole.
    const at::Tensor all = part_of(5, count).to(device);
    at::Tensor whole = at::full({count}, 3.0F, device);
    Slices(count, ranks.size())
        .for_blocks(ranks.rank(), 0, count, [&](int64_t at, int64_t, int64_t some) {
          whole.narrow(0, at, some).copy_(all.narrow(0, at, some));
        });
    ranks.gather_slices(whole, "gather in place");
    hold(at::equal(whole, all), "what every rank has of a buffer");
    at::Tensor copy = part_of(ranks.rank(), count).to(device);
    ranks.copy_from_first(copy, 7, "copy");
    hold(at::equal(copy, part_of(0, count).to(device)), "a copy of what rank 0 has");
  }
}

// Weights that go beside other work, from a rank that has them piece by piece.
void check_copies(Ranks& ranks, at::Device device) {
  const int64_t count = 3 * (1 << 23) + 77;
  const at::Tensor all = part_of(0, count).to(device);
  for (const std::vector<int64_t>& cuts : {std::vector<int64_t>{}, {1000, 1 << 23, count - 5}}) {
    at::Tensor buffer = part_of(1 + ranks.rank(), count).to(device);
    const auto copy = ranks.begin_copy(buffer, cuts, 3, "copy");
    std::vector<int64_t> ends = cuts;
    ends.push_back(count);
    for (int64_t begin = 0; const int64_t end : ends) {
      if (ranks.first()) {
        at::Tensor some = all.narrow(0, begin, end - begin).clone();
        const auto memory = some.storage().getWeakStorageImpl();
        copy->send(begin, some);
        hold(copy->finish(), "what was sent has left");
        some = at::Tensor();
        for (int64_t looks = 0; !memory.expired(); ++looks) {
          hold(looks < 5000, "nobody keeps what has left");
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
      }
      begin = end;
    }
    for (int64_t looks = 0; !ranks.first() && !copy->here(); ++looks) {
      hold(looks < 20000, "a copy that arrives while nobody waits for it");
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    ranks.end_copy(*copy, "copy");
    hold(ranks.first() || at::equal(buffer, all), "a copy that came beside other work");
  }
  // Something happens to it on its way to the last rank.
  at::Tensor buffer = part_of(ranks.rank(), 1000).to(device);
  const at::Tensor sent = part_of(0, 1000).to(device);
  const auto copy = ranks.begin_copy(buffer, {}, 4, "copy");
  if (ranks.first()) copy->send(0, buffer);
  if (ranks.rank() + 1 == ranks.size()) {
    while (!at::equal(buffer, sent)) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    buffer[7] += 1;
  }
  std::string said;
  try {
    ranks.end_copy(*copy, "copy");
  } catch (const RunError& problem) {
    said = problem.what();
  }
  hold(said.find(cat("rank ", ranks.size() - 1, " has received other bytes")) != std::string::npos,
       cat("a copy that is not what was sent: ", said));
}

ModelSpec small_spec(bool tied, int64_t layers = 3) {
  ModelSpec spec;
  spec.vocab_size = 97;
  spec.hidden_size = 128;
  spec.intermediate_size = 192;
  spec.num_hidden_layers = layers;
  spec.num_attention_heads = 4;
  spec.num_key_value_heads = 2;
  spec.head_dim = 32;
  spec.max_position_embeddings = 64;
  spec.tie_word_embeddings = tied;
  return spec;
}

std::unique_ptr<Decoder> small_decoder(bool tied = true, at::Device device = at::kCPU,
                                       int64_t layers = 3) {
  auto decoder = std::make_unique<Decoder>(small_spec(tied, layers), true, at::kFloat, device);
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

// Steps with weights that are shared out are those with whole weights, bit for bit; on a GPU up to
// the order of sums.
void check_sharded_weights(Ranks& ranks, at::Device device, kernels::Precision precision) {
  const Team team{.ranks = ranks, .trainers = ranks, .deterministic = true};
  // The first steps of Adam turn the sign of what is nearly 0 into a step: the mean is held.
  const double tolerance = precision == kernels::Precision::fp32 ? 1e-4 : 1e-2;
  const auto same = [&](const at::Tensor& a, const at::Tensor& b) {
    return device.is_cpu() ? at::equal(a, b) : (a - b).abs().mean().item<double>() < tolerance;
  };
  // With one layer what comes after it looks alike on the way forward and back.
  for (const int64_t layers : {1, 2, 3})
    for (const bool tied : {true, false}) {
      const bool recompute = tied == (layers == 2);
      if (ranks.size() > 4 && layers == 2) continue;  // more processes than cores
      const std::unique_ptr<Decoder> whole = small_decoder(tied, device, layers);
      Decoder cut(small_spec(tied, layers), true, at::kFloat, at::kMeta);
      cut.training = {.precision = precision, .recompute = recompute};
      whole->training = cut.training;
      const std::unique_ptr<ShardedWeights> weights = sharded_copy(cut, team, *whole);
      OptimizerState of_whole(*whole), of_cut(cut, false, ranks);
      for (int i = 0; i < 2; ++i) {
        const int64_t brought = weights->brought(), ahead = weights->begun_ahead();
        const double norm = step(*whole, of_whole, team), of_slices = step(cut, of_cut, team);
        hold(device.is_cpu() ? norm == of_slices : std::abs(of_slices / norm - 1) < tolerance,
             "norms of gradients");
        // The first unit of a pass, and the last layer on the way back, are not known before.
        if (const auto passes = 2 * team.rounds(); layers == 3)
          hold(weights->brought() - brought - (weights->begun_ahead() - ahead) <= 2 * passes &&
                   weights->begun_ahead() - ahead >= passes * (2 * layers - 1),
               "units that are on their way before a pass comes to them");
        at::Tensor gathered = at::zeros_like(whole->weights());
        weights->gather(gathered);
        hold(same(gathered, whole->weights()), "weights after a step");
        const std::vector<at::Tensor> expected = score(*whole, team), found = score(cut, team);
        for (size_t k = 0; k < expected.size(); ++k)
          hold(same(expected[k], found[k]), "log-probabilities");
      }
      const std::unique_ptr<Decoder> fresh = small_decoder(tied, device, layers);
      weights->take(fresh->weights());
      for (const NamedSlice& slice : cut.slices())
        hold(at::equal(cut.slice(slice), fresh->slice(slice)), slice.name);
    }
}

// Whom ranks that draw as one hear, and what they agree on.
void check_drawing_as_one(Ranks& ranks) {
  const Team team{.ranks = ranks, .trainers = ranks, .together = ranks.size(), .partners = &ranks};
  const auto thrown = [](const std::function<void()>& body) -> std::string {
    try {
      body();
    } catch (const Interrupted&) {
      return "interrupted";
    } catch (const RunError& problem) {
      return problem.what();
    }
    return "";
  };
  draw_together(team, [&](const PromptShare& share) {
    hold(share.follows == (ranks.rank() > 0) && share.ranks == 1, "one hands the groups over");
    for (int64_t place = 0; place < 3; ++place)
      hold(share.next() == place, "the same prompt on all of them");
    std::atomic<bool> stop = false;
    hold(thrown([&] { share.check(&stop, 5); }).empty(), "all go on");
    stop = ranks.rank() + 1 == ranks.size();
    hold(thrown([&] { share.check(&stop, 5); }) == "interrupted", "a signal to one of them");
    const auto other = static_cast<uint64_t>(ranks.first() ? 6 : 5);
    const std::string said = thrown([&] { share.check(nullptr, other); });
    hold(said.find("different tokens") != std::string::npos, cat("tokens that differ: ", said));
  });
}

// Updates by slices are those of all weights: the same bits, up to rounding on a GPU.
void check_update(Ranks& ranks, at::Device device) {
  const std::unique_ptr<Decoder> whole = small_decoder(true, device),
                                 cut = small_decoder(true, device);
  OptimizerState of_whole(*whole), of_cut(*cut, false, ranks);
  const int64_t count = whole->weights().numel();
  const Slices slices(count, ranks.size());
  for (int64_t step = 0; step < 2; ++step) {
    at::Tensor gradient = part_of(step, count).mul_(1e-3F).to(device);
    at::Tensor own = at::zeros({slices.size(ranks.rank())}, gradient.options());
    slices.for_blocks(ranks.rank(), 0, count, [&](int64_t at, int64_t place, int64_t some) {
      own.narrow(0, place, some).copy_(gradient.narrow(0, at, some));
    });
    Ranks alone;
    const double expected = apply_update(*whole, of_whole, gradient, {}, 1e-2, alone).grad_norm;
    const double found = apply_update(*cut, of_cut, own, {}, 1e-2, ranks).grad_norm;
    hold(device.is_cpu() ? expected == found : std::abs(found / expected - 1) < 1e-5,
         "norm of a gradient in slices");
    hold(device.is_cpu() ? at::equal(whole->weights(), cut->weights())
                         : at::allclose(whole->weights(), cut->weights(), 1e-5, 1e-6),
         "weights after a step by slices");
  }
}

// Two micro-batches a part.
void check_gradient_sum(Ranks& ranks, at::Device device) {
  const std::unique_ptr<Decoder> decoder = small_decoder(true, device);
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
          gradients.add_(
              part_of(i * parts + round * ranks.size() + ranks.rank(), count).to(device));
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
      expected = expected.to(device);
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

int check_as_rank(const std::function<void(Ranks&)>& check) {
  set_threads(1);  // there are more ranks than cores
  const Identity identity = identity_from(process_environment());
  ClusterConfig config;
  config.deadline_s = 20;
  config.start_deadline_s = 60;
  Ranks ranks(identity, config, nullptr);
  try {
    check(ranks);
    ranks.leave();
    return 0;
  } catch (const std::exception& problem) {
    std::fprintf(stderr, "rank %d: %s\n", static_cast<int>(identity.rank), problem.what());
    ranks.fail(problem.what(), 1);
    return 1;
  }
}

}  // namespace

int check_ranks() {
  return check_as_rank([](Ranks& ranks) {
    check_bytes(ranks);
    check_claims(ranks);
    check_sums(ranks, at::kCPU);
    check_copies(ranks, at::kCPU);
    check_gradient_sum(ranks, at::kCPU);
    check_update(ranks, at::kCPU);
    for (const auto precision : {kernels::Precision::fp32, kernels::Precision::bf16})
      check_sharded_weights(ranks, at::kCPU, precision);
    check_drawing_as_one(ranks);
    check_tensor_parallel(ranks);
  });
}

int check_gpu_ranks() {
  // NCCL takes two ranks on one GPU when they say that they are on different hosts.
  const Identity identity = identity_from(process_environment());
  ::setenv("NCCL_HOSTID", cat("host-", identity.rank).c_str(), /*overwrite=*/1);
  set_nccl_environment({});
  return check_as_rank([](Ranks& ranks) {
    ranks.use_gpu();
    check_bytes(ranks);  // these stay on the CPU
    check_sums(ranks, at::kCUDA);
    check_sums(ranks, at::kCPU);
    check_copies(ranks, at::kCUDA);
    check_gradient_sum(ranks, at::kCUDA);
    check_update(ranks, at::kCUDA);
    for (const auto precision : {kernels::Precision::fp32, kernels::Precision::bf16})
      check_sharded_weights(ranks, at::kCUDA, precision);
    Ranks some(ranks, "some", {0, 1});
    if (some.member()) check_sums(some, at::kCUDA);
    check_gpu_tensor_parallel(ranks);
  });
}

}  // namespace testing

namespace {

int run_ranks(int ranks, const char* option = "--ranks") {
  const pid_t pid = ::fork();
  if (pid == 0) {
    const std::string count = cat(ranks);
    ::execl("/proc/self/exe", "vernier_tests", option, count.c_str(), nullptr);
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

TEST_CASE("ranks: NCCL between processes on GPUs" * doctest::skip(!testing::have_gpu())) {
  CHECK(run_ranks(2, "--gpu-ranks") == 0);
}

TEST_CASE("ranks: NCCL's environment") {
  const auto get = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  ::setenv("TORCH_NCCL_ASYNC_ERROR_HANDLING", "1", 1);  // as torchrun does
  ::setenv("TORCH_NCCL_ENABLE_MONITORING", "1", 1);     // as a user may
  ClusterConfig config;
  config.interface = "ib0";
  config.flight_recorder = 77;
  set_nccl_environment(config);
  CHECK(get("TORCH_NCCL_ASYNC_ERROR_HANDLING") == "0");
  CHECK(get("TORCH_NCCL_ENABLE_MONITORING") == "1");
  CHECK(get("TORCH_FR_BUFFER_SIZE") == "77");
  CHECK(get("NCCL_SOCKET_IFNAME") == "=ib0");
  for (const char* name :
       {"TORCH_NCCL_ASYNC_ERROR_HANDLING", "TORCH_NCCL_RETHROW_CUDA_ERRORS",
        "TORCH_NCCL_ENABLE_MONITORING", "TORCH_NCCL_DUMP_ON_TIMEOUT",
        "TORCH_NCCL_WAIT_TIMEOUT_DUMP_MILSEC", "TORCH_FR_BUFFER_SIZE", "NCCL_SOCKET_IFNAME"})
    ::unsetenv(name);
}

TEST_CASE("ranks: an interface that is not there") {
  check_interface("", "cluster.interface");
  check_interface("lo", "cluster.interface");
  CHECK_THROWS_WITH_AS(
      check_interface("nope0", "cluster.interface"),
      doctest::Contains("\"nope0\" is no network interface of this machine, which"), UsageError);
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
  testing::check_gradient_sum(ranks, at::kCPU);
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
