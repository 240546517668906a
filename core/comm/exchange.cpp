// Sums of buffers to slices, and slices to buffers, a bucket at a time.
#include <ATen/ATen.h>
#include <c10/util/ParallelGuard.h>

#include <algorithm>
#include <future>

#include "core/comm/buckets.h"
#include "core/comm/links.h"
#include "core/comm/slices.h"

namespace vernier {
namespace {

int64_t bucket_bytes(const at::Tensor& buffer) {
  return buffer.is_cuda() ? Ranks::kGpuBucketBytes : Ranks::kBucketBytes;
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

  BucketExchange(int64_t ranks, const at::Tensor& buffer, int64_t first, int64_t last, Body put,
                 Body take)
      : buffer_(buffer),
        slices_(buffer.numel(), ranks),
        first_(first),
        last_(last),
        put_(std::move(put)),
        take_(std::move(take)) {}

  void run(Links::Room& room, const Exchange& exchange) const {
    std::vector<Bucket> buckets;
    for_buckets(slices_, first_, last_, bucket_bytes(buffer_),
                [&](const Bucket& bucket) { buckets.push_back(bucket); });
    int64_t most = 0;
    for (const Bucket& bucket : buckets) most = std::max(most, numbers(bucket));
    if (most > 0) room.fit(most, buffer_);
    for (const Bucket& bucket : buckets) {
      at::Tensor sent = room.sent.narrow(0, 0, numbers(bucket)),
                 received = room.received.narrow(0, 0, numbers(bucket));
      put_(bucket, rows(bucket, sent));
      exchange(received, sent);
      take_(bucket, rows(bucket, received));
    }
  }

 private:
  int64_t numbers(const Bucket& bucket) const {
    return slices_.ranks * bucket.rows * bucket.width();
  }
  at::Tensor rows(const Bucket& bucket, const at::Tensor& all) const {
    return all.view({slices_.ranks, bucket.rows, bucket.width()});
  }

  at::Tensor buffer_;
  Slices slices_;
  int64_t first_, last_;
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
  BesideExchange(Links& links, const char* what, BucketExchange exchange)
      : links_(links), what_(what), exchange_(std::move(exchange)) {
    Links::Beside& beside = *links.beside;
    const auto task = std::make_shared<std::packaged_task<void()>>([this, &beside] {
      // What it copies and adds up takes one thread: the others belong to who computes.
      const c10::ParallelGuard alone(true);
      const at::NoGradGuard no_grad;
      exchange_.run(beside.room, [&](at::Tensor& received, at::Tensor& sent) {
        all_to_all(*beside.gloo, received, sent)->wait();
      });
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
  Links& links_;
  const char* what_;
  const BucketExchange exchange_;
  std::future<void> done_;
};

void Ranks::agree_on(int64_t first, int64_t last, const char* what) {
  links_->agree_alike({first, last}, size(), what);
}

void Ranks::run_exchange(const BucketExchange& exchange, const at::Tensor& buffer,
                         const char* what) {
  exchange.run(links_->room, [&](at::Tensor& received, at::Tensor& sent) {
    links_->run(
        what, [&] { return all_to_all(links_->group(buffer), received, sent); }, buffer.is_cuda());
  });
}

// Beside it where it is on CPUs; NCCL has one stream for a group.
std::unique_ptr<Pending> Ranks::begin_exchange(BucketExchange exchange, const at::Tensor& buffer,
                                               const char* what) {
  if (buffer.is_cuda()) {
    run_exchange(exchange, buffer, what);
    return std::make_unique<Done>();
  }
  if (links_->beside == nullptr) {
    auto beside = std::make_unique<Links::Beside>();
    beside->gloo = links_->attempt(what, [&] {
      return open_gloo(links_->store, cat("beside ", links_->group_name), rank(), size(), config_);
    });
    links_->beside = std::move(beside);
  }
  return std::make_unique<BesideExchange>(*links_, what, std::move(exchange));
}

Ranks::BucketExchange Ranks::summing(const at::Tensor& buffer, int64_t first, int64_t last,
                                     TakeSum take) const {
  const auto put = [buffer](const Bucket& bucket, const at::Tensor& sent) {
    for (int64_t r = 0; r < sent.size(0); ++r)
      bucket.for_blocks(r, [&](int64_t row, int64_t at, int64_t within, int64_t, int64_t count) {
        sent[r][row].narrow(0, within, count).copy_(buffer.narrow(0, at, count));
      });
  };
  const auto sum = [own = rank(), take = std::move(take)](const Bucket& bucket,
                                                          const at::Tensor& received) {
    for (int64_t stride = 1; stride < received.size(0); stride *= 2)
      for (int64_t r = 0; r + stride < received.size(0); r += 2 * stride)
        received[r].add_(received[r + stride]);
    bucket.for_blocks(own, [&](int64_t row, int64_t, int64_t within, int64_t place, int64_t count) {
      take(place, received[0][row].narrow(0, within, count));
    });
  };
  return {size(), buffer, first, last, put, sum};
}

std::unique_ptr<Pending> Ranks::begin_sum_to_slices(const at::Tensor& buffer, int64_t first,
                                                    int64_t last, TakeSum take, const char* what) {
  if (!alone()) {
    agree_on(first, last, what);
    return begin_exchange(summing(buffer, first, last, std::move(take)), buffer, what);
  }
  take(first, buffer.narrow(0, first, last - first));
  return std::make_unique<Done>();
}

void Ranks::sum_to_slices(const at::Tensor& buffer, int64_t first, int64_t last,
                          const TakeSum& take, const char* what) {
  if (alone()) return take(first, buffer.narrow(0, first, last - first));
  agree_on(first, last, what);
  run_exchange(summing(buffer, first, last, take), buffer, what);
}

namespace {

// own(place in the buffer, place in the slice, numbers) is what rank `rank` has of the buffer.
template <class Own>
auto put_own(int64_t rank, const Own& own) {
  return [rank, own](const Bucket& bucket, const at::Tensor& sent) {
    bucket.for_blocks(rank,
                      [&](int64_t row, int64_t at, int64_t within, int64_t place, int64_t count) {
                        sent[0][row].narrow(0, within, count).copy_(own(at, place, count));
                      });
    for (int64_t r = 1; r < sent.size(0); ++r) sent[r].copy_(sent[0]);
  };
}

auto take_all(const at::Tensor& buffer) {
  return [buffer](const Bucket& bucket, const at::Tensor& received) {
    for (int64_t r = 0; r < received.size(0); ++r)
      bucket.for_blocks(r, [&](int64_t row, int64_t at, int64_t within, int64_t, int64_t count) {
        buffer.narrow(0, at, count).copy_(received[r][row].narrow(0, within, count));
      });
  };
}

}  // namespace

Ranks::BucketExchange Ranks::gathering(const at::Tensor& slice, const at::Tensor& buffer,
                                       int64_t first, int64_t last) const {
  const auto own = [slice](int64_t, int64_t place, int64_t count) {
    return slice.narrow(0, place, count);
  };
  return {size(), buffer, first, last, put_own(rank(), own), take_all(buffer)};
}

std::unique_ptr<Pending> Ranks::begin_gather_slices(const at::Tensor& slice, at::Tensor& buffer,
                                                    int64_t first, int64_t last, const char* what) {
  if (!alone()) {
    agree_on(first, last, what);
    return begin_exchange(gathering(slice, buffer, first, last), buffer, what);
  }
  gather_slices(slice, buffer, first, last, what);
  return std::make_unique<Done>();
}

void Ranks::gather_slices(const at::Tensor& slice, at::Tensor& buffer, int64_t first, int64_t last,
                          const char* what) {
  if (alone()) {
    buffer.narrow(0, first, last - first).copy_(slice.narrow(0, first, last - first));
    return;
  }
  agree_on(first, last, what);
  run_exchange(gathering(slice, buffer, first, last), buffer, what);
}

void Ranks::gather_slices(at::Tensor& buffer, const char* what) {
  if (alone()) return;
  const auto own = [buffer](int64_t at, int64_t, int64_t count) {
    return buffer.narrow(0, at, count);
  };
  agree_on(0, buffer.numel(), what);
  run_exchange({size(), buffer, 0, buffer.numel(), put_own(rank(), own), take_all(buffer)}, buffer,
               what);
}

}  // namespace vernier
