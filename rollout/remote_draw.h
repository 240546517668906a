// Groups that are drawn elsewhere, as the stream of a job sees them.
#pragma once

#include <cstdint>
#include <vector>

#include "core/types.h"

namespace vernier {

/// A group to be drawn: with the weights' versions this is all that its responses depend on.
struct RemoteDraw {
  int64_t ticket = 0;  // of who gives it; another for every time
  int64_t place = 0;
  int64_t limit = 0;  // tokens of a response
  uint64_t seed = 0, step = 0;
  Prompt prompt;
};

/// Who draws for a job beside its own engine. All of one thread.
class RemoteDrawers {
 public:
  virtual ~RemoteDrawers() = default;

  /// How many there are, who may be given groups.
  virtual int64_t count() const = 0;
  /// Steps that are in the weights of those who have the oldest.
  virtual int64_t version() const = 0;
  /// One, from 1 on, that has room for a group where each may have `most` of them; 0: none.
  virtual int64_t with_room(int64_t most) = 0;
  virtual void give(int64_t drawer, const RemoteDraw& draw) = 0;
  /// Nobody wants any more what was given, nor what those weights would still draw.
  virtual void forget() = 0;

  struct Finished {
    int64_t drawer = 0;
    Group group;  // its id is the place
  };
  struct News {
    std::vector<Finished> finished;
    std::vector<int64_t> lost;  // drawers that are gone
    int64_t late = 0;           // groups that nobody waited for any more
  };
  /// What has come since the last call; waits up to `seconds` for it.
  virtual News news(double seconds) = 0;
};

}  // namespace vernier
