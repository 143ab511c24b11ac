;; A plugin for tokenIssuanceStart by hand: what `wit/` asks for, in the canonical ABI's terms. Each part in braces is
;; replaced by the corpus's; with the corpus's usual parts, it behaves.
(module
  {imports}
  (memory (export "memory") {memory})
  (global $heap (mut i32) (i32.const 16384))
  ;; description: name "hostile", version "1.0.0", no summary, no schema.
  (data (i32.const 1024) "\00\08\00\00\07\00\00\00\10\08\00\00\05\00\00\00")
  (data (i32.const 2048) "hostile")
  (data (i32.const 2064) "1.0.0")
  ;; From 1200 zeros: an empty list, and `ok` with an empty list.
  ;; At 1300 `ok` with one claim, which is at 1400: id "id", a text of "x".
  (data (i32.const 1300) "\00\00\00\00\78\05\00\00\01\00\00\00")
  (data (i32.const 1400) "\20\08\00\00\02\00\00\00\00\00\00\00\30\08\00\00\01\00\00\00")
  (data (i32.const 2080) "id")
  (data (i32.const 2096) "x")
  {items}
  ;; Old pointer, old size, alignment, new size; memory is never given back, since an instance serves one call.
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    {realloc})
  (func (export "claimsmith:plugin/lifecycle@0.1.0#describe") (result i32)
    {describe})
  (func (export "claimsmith:plugin/lifecycle@0.1.0#check-settings") (param i32 i32) (result i32)
    {check})
  (func (export "claimsmith:plugin/token-issuance-start@0.1.0#provide-claims") (param i32) (result i32)
    {claims})
  (func (export "cabi_post_claimsmith:plugin/token-issuance-start@0.1.0#provide-claims") (param i32)
    {post})
)
