#include "trainer/signals.h"

#include <unistd.h>

#include <csignal>

namespace vernier {
namespace {

std::atomic<bool> stop{false};
std::atomic<bool> was_signalled{false};  // this process, not another rank

extern "C" void on_signal(int) {
  if (was_signalled.exchange(true)) _exit(128 + SIGINT);
  stop.store(true);
}

}  // namespace

std::atomic<bool>& stop_requested() { return stop; }

void install_signal_handlers() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigset_t handled;
  sigemptyset(&handled);
  for (const int signal : {SIGTERM, SIGINT, SIGUSR1}) {
    sigaction(signal, &action, nullptr);
    sigaddset(&handled, signal);
  }
  sigprocmask(SIG_UNBLOCK, &handled, nullptr);  // who started it may have held them back so far
  // A peer that dies while bytes go to it is told of by the write, not by the end of this process.
  action.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &action, nullptr);
}

}  // namespace vernier
