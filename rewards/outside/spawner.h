// A small process that starts programs for us, and ends them when we end.
//
// A program that runs CUDA and many threads must not fork. So the spawner is forked first, while
// there is one thread, and forks programs and hosted libraries on request. Each leads a process
// group of its own. When this process ends, in whatever way, the spawner sees the end of its
// socket, kills all groups and what they left behind, and ends too: no orphan is left.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace vernier {

/// What a program may use. 0: no limit.
struct ProgramLimits {
  double memory_gb = 0;  // of address space
  int64_t cpu_s = 0;     // of processor time for one question; 0: no limit
  bool network = true;   // false: a network namespace of its own, with nothing in it
};

struct ChildSpec {
  std::vector<std::string> command;  // looked up in PATH
  std::string library, config;       // instead of a command: a library to host, its configuration
  ProgramLimits limits;
};

/// To be made first of all in main(), before there is a second thread. There is one at a time; its
/// end ends every child, and waits until they are gone.
class SpawnerProcess {
 public:
  SpawnerProcess();
  ~SpawnerProcess();
  SpawnerProcess(const SpawnerProcess&) = delete;
  SpawnerProcess& operator=(const SpawnerProcess&) = delete;

  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
};

/// A running child. Its ends of the pipes do not block; the destructor kills it.
class Child {
 public:
  /// Throws RunError with the reason where it cannot be started.
  explicit Child(const ChildSpec& spec);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  pid_t pid() const { return pid_; }
  int in() const { return in_; }    // to its standard input; -1 once closed
  int out() const { return out_; }  // from its standard output
  int err() const { return err_; }  // from its standard error

  /// Says that nothing more will come.
  void close_in();
  /// Kills its process group.
  void kill();
  /// How it ended ("exit code 3", "signal 11, Segmentation fault"); "" while it runs. To be asked
  /// when status_end() can be read.
  std::string ended();
  int status_end() const { return status_; }

 private:
  void read_status();

  int64_t number_;
  pid_t pid_ = -1;
  int in_ = -1, out_ = -1, err_ = -1, status_ = -1;
  std::string status_text_, ended_;
};

}  // namespace vernier
