// Sums of buffers to slices, and slices to buffers, a bucket at a time.
#include <ATen/ATen.h>
#include <c10/util/ParallelGuard.h>

#include <algorithm>
#include <future>

#include "core/comm/buckets.h"
#include "core/comm/device_group.h"
#include "core/comm/links.h"
#include "core/comm/slices.h"

namespace vernier {
namespace {

int64_t bucket_bytes(const at::Tensor& numbers) {
  return numbers.is_cuda() ? Ranks::kGpuBucketBytes : Ranks::kBucketBytes;
}

struct Done final : Pending {
  void finish() override {}
};

}  // namespace

// The buckets of a stretch, one after the other: put() fills one with rows for every rank, take()
// is given one with rows of every rank.
class Ranks::BucketExchange {
 public:
  using Body = std::function<void(const Bucket& bucket, const at::Tensor& rows)>;
  using Exchange = std::function<void(at::Tensor& received, at::Tensor& sent)>;

  /// `numbers` are those of the buffer from `first` on.
  BucketExchange(Slices slices, const at::Tensor& numbers, int64_t first, Body put, Body take)
      : slices_(slices),
        numbers_(numbers),
        first_(first),
        put_(std::move(put)),
        take_(std::move(take)) {}

  const at::Tensor& numbers() const { return numbers_; }

  void run(Links::Room& room, const Exchange& exchange) const {
    std::vector<Bucket> buckets;
    for_buckets(slices_, first_, first_ + numbers_.numel(), bucket_bytes(numbers_),
                [&](const Bucket& bucket) { buckets.push_back(bucket); });
    int64_t most = 0;
    for (const Bucket& bucket : buckets) most = std::max(most, size_of(bucket));
    if (most > 0) room.fit(most, numbers_);
    for (const Bucket& bucket : buckets) {
      at::Tensor sent = room.sent.narrow(0, 0, size_of(bucket)),
                 received = room.received.narrow(0, 0, size_of(bucket));
      put_(bucket, rows(bucket, sent));
      exchange(received, sent);
      take_(bucket, rows(bucket, received));
    }
  }

 private:
  int64_t size_of(const Bucket& bucket) const {
    return slices_.ranks * bucket.rows * bucket.width();
  }
  at::Tensor rows(const Bucket& bucket, const at::Tensor& all) const {
    return all.view({slices_.ranks, bucket.rows, bucket.width()});
  }

  Slices slices_;
  at::Tensor numbers_;
  int64_t first_;
  Body put_, take_;
};

namespace {

// An all-gather of gloo's would take as much memory again, in a thread of its own.
c10::intrusive_ptr<c10d::Work> all_to_all(c10d::Backend& group, at::Tensor& received,
                                          at::Tensor& sent) {
  std::vector<int64_t> equal;
  return group.alltoall_base(received, sent, equal, equal);
}

}  // namespace

// What the mover does; nothing of it is under way any more when this is gone.
class Ranks::BesideExchange final : public Pending {
 public:
  BesideExchange(Links& links, Links::Beside& beside, const char* what, BucketExchange exchange)
      : links_(links), beside_(beside), what_(what), exchange_(std::move(exchange)) {
    if (exchange_.numbers().is_cuda()) side_ = open_side_stream();
    const auto task = std::make_shared<std::packaged_task<void()>>([this] {
      if (side_)
        side_->run([this] { run(); });
      else
        run();
    });
    done_ = task->get_future();
    beside.mover.post([task] { (*task)(); });
  }
  ~BesideExchange() override {
    if (done_.valid()) done_.wait();
  }

  void finish() override {
    links_.attempt(what_, [&] { done_.get(); });
  }

 private:
  void run() {
    // What it copies and adds up takes one thread: the others belong to who computes.
    const c10::ParallelGuard alone(true);
    const at::NoGradGuard no_grad;
    exchange_.run(beside_.room, [&](at::Tensor& received, at::Tensor& sent) {
      Links::wait_for(all_to_all(*beside_.group, received, sent), side_ != nullptr);
    });
  }

  Links& links_;
  Links::Beside& beside_;
  const char* what_;
  const BucketExchange exchange_;
  std::unique_ptr<SideStream> side_;  // of the GPU, where that is where it happens
  std::future<void> done_;
};

void Ranks::agree_on(const at::Tensor& numbers, int64_t first, const char* what) {
  links_->agree_alike({first, numbers.numel()}, size(), what);
}

void Ranks::run_exchange(const BucketExchange& exchange, const char* what) {
  const at::Tensor& numbers = exchange.numbers();
  exchange.run(links_->room, [&](at::Tensor& received, at::Tensor& sent) {
    links_->run(
        what, [&] { return all_to_all(links_->group(numbers), received, sent); },
        numbers.is_cuda());
  });
}

std::unique_ptr<Pending> Ranks::begin_exchange(BucketExchange exchange, const char* what) {
  const bool of_gpu = exchange.numbers().is_cuda();
  std::unique_ptr<Links::Beside>& beside = of_gpu ? links_->nccl_beside : links_->beside;
  if (beside == nullptr) {
    auto opened = std::make_unique<Links::Beside>();
    const std::string name = cat("beside ", links_->group_name);
    opened->group = links_->attempt(what, [&]() -> c10::intrusive_ptr<c10d::Backend> {
      if (of_gpu) return open_nccl(links_->store, name, rank(), size());
      return open_gloo(links_->store, name, rank(), size(), config_);
    });
    beside = std::move(opened);
  }
  return std::make_unique<BesideExchange>(*links_, *beside, what, std::move(exchange));
}

namespace {

// What a bucket has of rows that are whole: by rank, row and number, of its rows, and of numbers
// that lie as the flat buffer does from `first` on.
at::Tensor whole_of(const Bucket& bucket, const at::Tensor& rows) {
  const auto [begin, end] = bucket.whole_rows();
  return rows.narrow(1, begin - bucket.row, end - begin);
}
at::Tensor whole_of_flat(const Bucket& bucket, const at::Tensor& numbers, int64_t first) {
  const auto [begin, end] = bucket.whole_rows();
  return numbers.narrow(0, begin * bucket.across() - first, (end - begin) * bucket.across())
      .view({end - begin, bucket.slices.ranks, Slices::kBlock})
      .transpose(0, 1);
}
bool has_whole(const Bucket& bucket) {
  const auto [begin, end] = bucket.whole_rows();
  return begin < end;
}

}  // namespace

Ranks::BucketExchange Ranks::summing(const at::Tensor& numbers, int64_t first, int64_t of,
                                     TakeSum take) const {
  const auto put = [numbers, first](const Bucket& bucket, const at::Tensor& sent) {
    if (has_whole(bucket)) whole_of(bucket, sent).copy_(whole_of_flat(bucket, numbers, first));
    for (int64_t r = 0; r < sent.size(0); ++r)
      bucket.for_edges(r, [&](int64_t row, int64_t at, int64_t within, int64_t, int64_t count) {
        sent[r][row].narrow(0, within, count).copy_(numbers.narrow(0, at - first, count));
      });
  };
  const auto sum = [own = rank(), take = std::move(take)](const Bucket& bucket,
                                                          const at::Tensor& received) {
    for (int64_t stride = 1; stride < received.size(0); stride *= 2)
      for (int64_t r = 0; r + stride < received.size(0); r += 2 * stride)
        received[r].add_(received[r + stride]);
    if (has_whole(bucket))
      take(bucket.whole_rows().begin * Slices::kBlock, whole_of(bucket, received)[0].flatten());
    bucket.for_edges(own, [&](int64_t row, int64_t, int64_t within, int64_t place, int64_t count) {
      take(place, received[0][row].narrow(0, within, count));
    });
  };
  return {Slices(of, size()), numbers, first, put, sum};
}

std::unique_ptr<Pending> Ranks::begin_sum_to_slices(const at::Tensor& numbers, int64_t first,
                                                    int64_t of, TakeSum take, const char* what) {
  if (!alone()) {
    agree_on(numbers, first, what);
    return begin_exchange(summing(numbers, first, of, std::move(take)), what);
  }
  take(first, numbers);
  return std::make_unique<Done>();
}

void Ranks::sum_to_slices(const at::Tensor& numbers, int64_t first, int64_t of, const TakeSum& take,
                          const char* what) {
  if (alone()) return take(first, numbers);
  agree_on(numbers, first, what);
  run_exchange(summing(numbers, first, of, take), what);
}

namespace {

// own(bucket) gives whole rows [rows, kBlock] of what this rank has of the buffer, own(place in the
// buffer, place in the slice, numbers) some of its numbers.
template <class Own>
auto put_own(int64_t rank, const Own& own) {
  return [rank, own](const Bucket& bucket, const at::Tensor& sent) {
    if (has_whole(bucket)) whole_of(bucket, sent)[0].copy_(own(bucket));
    bucket.for_edges(rank,
                     [&](int64_t row, int64_t at, int64_t within, int64_t place, int64_t count) {
                       sent[0][row].narrow(0, within, count).copy_(own(at, place, count));
                     });
    for (int64_t r = 1; r < sent.size(0); ++r) sent[r].copy_(sent[0]);
  };
}

auto take_all(const at::Tensor& numbers, int64_t first) {
  return [numbers, first](const Bucket& bucket, const at::Tensor& received) {
    if (has_whole(bucket)) whole_of_flat(bucket, numbers, first).copy_(whole_of(bucket, received));
    for (int64_t r = 0; r < received.size(0); ++r)
      bucket.for_edges(r, [&](int64_t row, int64_t at, int64_t within, int64_t, int64_t count) {
        numbers.narrow(0, at - first, count).copy_(received[r][row].narrow(0, within, count));
      });
  };
}

struct OfSlice {
  at::Tensor slice;

  at::Tensor operator()(const Bucket& bucket) const {
    const auto [begin, end] = bucket.whole_rows();
    return slice.narrow(0, begin * Slices::kBlock, (end - begin) * Slices::kBlock)
        .view({end - begin, Slices::kBlock});
  }
  at::Tensor operator()(int64_t, int64_t place, int64_t count) const {
    return slice.narrow(0, place, count);
  }
};

struct InPlace {
  at::Tensor buffer;
  int64_t rank;

  at::Tensor operator()(const Bucket& bucket) const {
    return whole_of_flat(bucket, buffer, 0)[rank];
  }
  at::Tensor operator()(int64_t at, int64_t, int64_t count) const {
    return buffer.narrow(0, at, count);
  }
};

}  // namespace

Ranks::BucketExchange Ranks::gathering(const at::Tensor& slice, const at::Tensor& numbers,
                                       int64_t first, int64_t of) const {
  return {Slices(of, size()), numbers, first, put_own(rank(), OfSlice{slice}),
          take_all(numbers, first)};
}

std::unique_ptr<Pending> Ranks::begin_gather_slices(const at::Tensor& slice, at::Tensor& numbers,
                                                    int64_t first, int64_t of, const char* what) {
  if (!alone()) {
    agree_on(numbers, first, what);
    return begin_exchange(gathering(slice, numbers, first, of), what);
  }
  gather_slices(slice, numbers, first, of, what);
  return std::make_unique<Done>();
}

void Ranks::gather_slices(const at::Tensor& slice, at::Tensor& numbers, int64_t first, int64_t of,
                          const char* what) {
  if (alone()) {
    numbers.copy_(slice.narrow(0, first, numbers.numel()));
    return;
  }
  agree_on(numbers, first, what);
  run_exchange(gathering(slice, numbers, first, of), what);
}

void Ranks::gather_slices(at::Tensor& buffer, const char* what) {
  if (alone()) return;
  agree_on(buffer, 0, what);
  run_exchange({Slices(buffer.numel(), size()), buffer, 0, put_own(rank(), InPlace{buffer, rank()}),
                take_all(buffer, 0)},
               what);
}

}  // namespace vernier
