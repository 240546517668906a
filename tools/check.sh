#!/usr/bin/env bash
# Formatting, include rules, size limits. Prints every breach and ends with 1 where there is one.
set -uo pipefail
cd "$(dirname "$0")/.."
failed=0
breach() {
  [ -z "$2" ] && return
  echo "check: $1"
  printf '  %s\n' "$2"
  failed=1
}

command -v clang-format >/dev/null || { echo "check: clang-format is missing; tools/setup installs it"; exit 1; }

sources=$(git ls-files -- '*.cpp' '*.h' '*.cu' '*.cuh' | while read -r file; do
  [ -e "$file" ] && echo "$file"; done)

breach "not formatted (clang-format -i):" "$(echo "$sources" |
  xargs clang-format --dry-run 2>&1 | grep -oE '^[^:]+:[0-9]+' | sort -u | head -20)"

# Who may include whom: each folder with what it must never include.
deny() {
  breach "$1 must not include $2:" "$(git grep -nE "#include \"($2)/" -- "$1/*.cpp" "$1/*.h" "$1/*.cu")"
}
deny core 'rewards|algos|rollout|trainer|tools|tests'
deny rewards 'algos|rollout|trainer|tools|tests'
deny algos 'rewards|rollout|trainer|tools|tests'
deny rollout 'algos|trainer|tools|tests'
deny trainer 'tools|tests'
breach "torch where it does not belong:" "$(git grep -nE '#include <(torch|ATen|c10)/' -- \
  core/base core/text core/weights core/metrics core/types.h rewards '*.cu' '*.cuh' 'core/kernels/cpu*' core/kernels/kernels.h)"
breach "torch/torch.h is banned:" "$(git grep -nE '#include <torch/torch.h>' -- '*.cpp' '*.h')"
breach "spdlog outside log.cpp:" "$(git grep -nl 'spdlog/' -- '*.cpp' '*.h' | grep -v core/base/log.cpp)"
breach "toml++ outside config.cpp:" "$(git grep -nl 'toml++/' -- '*.cpp' '*.h' | grep -v core/base/config.cpp)"
breach "Boost outside the HTTP server and client, the control plane, exact numbers, checksums and special functions:" "$(git grep -nl 'boost/' -- '*.cpp' '*.h' |
  grep -vE '^(rollout/endpoint|rewards/outside)/http_|^core/control/|rewards/verify/math/number.h|^core/metrics/(event_file|curve_fits).cpp')"
breach "Arrow outside parquet_rows.cpp:" "$(git grep -nlE '#include <(arrow|parquet)/' -- '*.cpp' '*.h' | grep -v rollout/parquet_rows.cpp)"
# The linker keeps one of two inline functions of one name, and says nothing.
breach "types of one name in two headers:" "$(git ls-files -- '*.h' | xargs grep -hoE '^(struct|class) [A-Za-z]+.*[{]$' |
  awk '{print $2}' | sort | uniq -d)"
breach "files over 600 lines:" "$(echo "$sources" | xargs wc -l | awk '$1 > 600 && $2 != "total" {print $2": "$1}')"

[ $failed = 0 ] && echo "check: formatting, includes and sizes are in order"
exit $failed
