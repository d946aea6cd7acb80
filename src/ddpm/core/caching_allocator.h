#pragma once

namespace ddpm {

/// Makes LibTorch keep the memory of freed CPU tensors and hand it out again, for the rest of the
/// process. Training frees and allocates the same sizes at every step; without this each large
/// block comes from the kernel anew and costs a page fault a page. Blocks are aligned to huge
/// pages. What is kept but not used stays below what is in use, or goes back at the next miss.
///
/// Sanitizer builds keep nothing, so that they see every use after free.
void cache_cpu_tensors();

}  // namespace ddpm
