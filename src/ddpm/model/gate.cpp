#include "ddpm/model/gate.h"

#include <stdexcept>

#include "ddpm/core/check.h"
#include "ddpm/model/attention_gate.h"
#include "ddpm/model/cbam.h"
#include "ddpm/model/squeeze_excite.h"

namespace ddpm {
namespace {

constexpr int64_t kAttentionGateReduction = 2;
constexpr int64_t kChannelReduction = 16;

}  // namespace

std::shared_ptr<GateImpl> make_gate(const GateOptions& options) {
  const int64_t usual =
      options.kind == GateKind::kAttentionGate ? kAttentionGateReduction : kChannelReduction;
  const int64_t reduction = options.reduction == 0 ? usual : options.reduction;
  check_arg(options.channels % reduction == 0,
            "[make_gate] simple_unet.gate_reduction must divide "
            "the channels of every map that has a gate: expected a divisor of ",
            options.channels, ", got ", reduction);
  const int64_t inner_channels = options.channels / reduction;
  switch (options.kind) {
    case GateKind::kNone:
      break;
    case GateKind::kCbam:
      return std::make_shared<CbamImpl>(options.channels, inner_channels);
    case GateKind::kAttentionGate:
      return std::make_shared<AttentionGateImpl>(options.channels, options.coarser_channels,
                                                 inner_channels);
    case GateKind::kSqueezeExcite:
      return std::make_shared<SqueezeExciteImpl>(options.channels, inner_channels);
  }
  throw std::logic_error("[make_gate] not a gate");
}

}  // namespace ddpm
