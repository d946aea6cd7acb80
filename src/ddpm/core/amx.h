#pragma once

namespace ddpm {

/// True if this CPU multiplies tiles of bfloat16 (AMX) and the system lets this process do so.
bool cpu_has_amx();

}  // namespace ddpm
