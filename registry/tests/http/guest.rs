//! A verifier of a package type that nothing else knows: `demo`.
//!
//! A package is `NAME@VERSION`, and a build gives one file, which is published under the name of the package. `/a/PACKAGE` is that file, `/d/PREFIX` a
//! document: the address of the mount, and a line for each package that begins so, with the content of those whose version ends with `.0`.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

pub(super) const SYNTAX: &str = "A package is written NAME@VERSION.";
pub(super) const MEDIA_TYPE: &str = "application/x-demo";
pub(super) const NO_DOCUMENT: &str = "No such package is published.";

/// Constants in linear memory.
struct Data(Vec<u8>);

/// Where they begin: below is the scratch space of the answers.
const DATA_AT: usize = 1_024;

impl Data {
    fn put(&mut self, bytes: &[u8]) -> u32 {
        self.0.resize(self.0.len().next_multiple_of(8), 0);
        let at = (DATA_AT + self.0.len()) as u32;
        self.0.extend_from_slice(bytes);
        at
    }

    /// The two words a text or a list is passed as.
    fn text(&mut self, text: &str) -> [u32; 2] {
        [self.put(text.as_bytes()), text.len() as u32]
    }

    fn words(&mut self, words: &[u32]) -> u32 {
        self.put(&words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>())
    }

    fn texts(&mut self, texts: &[&str]) -> [u32; 2] {
        let words: Vec<u32> = texts.iter().flat_map(|text| self.text(text)).collect();
        [self.words(&words), texts.len() as u32]
    }

    /// As the text format writes bytes.
    fn escaped(&self) -> String {
        self.0.iter().map(|byte| format!("\\{byte:02x}")).collect()
    }
}

pub(super) fn component() -> Vec<u8> {
    let mut data = Data(vec![]);
    let description = [
        data.text("demo"),
        data.texts(&["dm"]),
        data.text(SYNTAX),
        data.texts(&["left@1.0"]),
        [0, 0],
        data.texts(&["/a/{name}@{version}", "/d/{prefix}"]),
    ];
    let description = data.words(description.as_flattened());
    let [code, code_len] = data.text("refused");
    let [syntax, syntax_len] = data.text(SYNTAX);
    let [media, media_len] = data.text(MEDIA_TYPE);
    let [plain, plain_len] = data.text("text/plain");
    let [suffix, suffix_len] = data.text(".0");
    let [missing, missing_len] = data.text(NO_DOCUMENT);
    let [line_end, space, dash] = ["\n", " ", "-"].map(|text| data.text(text)[0]);
    let module = format!(
        r#"(module
          (import "pyrsia:verifier/inputs@1.0.0" "read" (func $read (param i32 i64 i32 i32)))
          (import "pyrsia:verifier/inputs@1.0.0" "sha256" (func $sha256 (param i32 i64 i64 i32)))
          (import "pyrsia:verifier/inputs@1.0.0" "size" (func $size (param i32) (result i64)))
          (memory (export "memory") 4)
          (global $free (mut i32) (i32.const 65536))
          (global $end (mut i32) (i32.const 32768))
          (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
            (i32.and (global.get $free) (i32.const -8))
            (global.set $free (i32.add (global.get $free) (i32.add (local.get 3) (i32.const 16)))))
          (func $is (param $at i32) (param $word i32) (i32.store (local.get $at) (local.get $word)))
          (func $is_text (param $at i32) (param $text i32) (param $len i32)
            (call $is (local.get $at) (local.get $text)) (call $is (i32.add (local.get $at) (i32.const 4)) (local.get $len)))
          (func $append (param $text i32) (param $len i32)
            (memory.copy (global.get $end) (local.get $text) (local.get $len))
            (global.set $end (i32.add (global.get $end) (local.get $len))))
          (func $refuse (param $subject i32) (param $subject_len i32) (param $sentence i32) (param $sentence_len i32) (result i32)
            (call $is (i32.const 16) (i32.const 1))
            (call $is_text (i32.const 20) (i32.const {code}) (i32.const {code_len}))
            (call $is_text (i32.const 28) (local.get $subject) (local.get $subject_len))
            (call $is_text (i32.const 36) (local.get $sentence) (local.get $sentence_len))
            (i32.const 16))
          (func (export "pyrsia:verifier/verification@1.0.0#describe") (result i32) (i32.const {description}))
          (func (export "pyrsia:verifier/verification@1.0.0#parse-coordinate") (param $text i32) (param $len i32) (result i32)
            (local $at i32)
            (block $none
              (loop $next
                (br_if $none (i32.ge_u (local.get $at) (local.get $len)))
                (if (i32.eq (i32.load8_u (i32.add (local.get $text) (local.get $at))) (i32.const 64))
                  (then
                    (call $is (i32.const 16) (i32.const 0))
                    (call $is_text (i32.const 20) (local.get $text) (local.get $len))
                    (return (i32.const 16))))
                (local.set $at (i32.add (local.get $at) (i32.const 1)))
                (br $next)))
            (call $refuse (local.get $text) (local.get $len) (i32.const {syntax}) (i32.const {syntax_len})))
          (func (export "pyrsia:verifier/verification@1.0.0#check") (param $text i32) (param $len i32) (result i32)
            (call $is (i32.const 16) (i32.const 0))
            (call $is_text (i32.const 20) (i32.const 64) (i32.const 1))
            (call $is_text (i32.const 64) (local.get $text) (local.get $len))
            (call $is (i32.const 72) (i32.const 0))
            (call $is_text (i32.const 76) (i32.const {media}) (i32.const {media_len}))
            (call $sha256 (i32.const 0) (i64.const 0) (call $size (i32.const 0)) (i32.const 84))
            (call $is_text (i32.const 92) (i32.const 0) (i32.const 0))
            (i32.const 16))
          (func (export "pyrsia:verifier/verification@1.0.0#canonicalize") (param i32 i32 i32) (result i32) (unreachable))
          (func (export "pyrsia:verifier/verification@1.0.0#compare") (param i32 i32 i32 i32) (result i32) (unreachable))
          (func (export "pyrsia:verifier/verification@1.0.0#http-artifacts") (param $path i32) (param $len i32) (result i32)
            (local $rest i32)
            (local $kind i32)
            (local.set $rest (select (i32.sub (local.get $len) (i32.const 3)) (i32.const 0) (i32.ge_u (local.get $len) (i32.const 3))))
            (local.set $kind (i32.load8_u (i32.add (local.get $path) (i32.const 1))))
            (call $is (i32.const 16) (i32.or (i32.eq (local.get $kind) (i32.const 97)) (i32.eq (local.get $kind) (i32.const 100))))
            (call $is (i32.const 20) (i32.eq (local.get $kind) (i32.const 100)))
            (call $is_text (i32.const 24) (i32.add (local.get $path) (i32.const 3)) (local.get $rest))
            (if (i32.eq (local.get $kind) (i32.const 100))
              (then
                (call $is (i32.const 32) (i32.const 1))
                (call $is_text (i32.const 36) (i32.const {suffix}) (i32.const {suffix_len})))
              (else (call $is_text (i32.const 32) (i32.add (local.get $path) (i32.const 3)) (local.get $rest))))
            (i32.const 16))
          (func (export "pyrsia:verifier/verification@1.0.0#http-document")
            (param $path i32) (param $path_len i32) (param $mount i32) (param $mount_len i32) (param $record i32) (param $count i32)
            (result i32)
            (if (i32.eqz (local.get $count))
              (then
                (return (call $refuse (local.get $path) (local.get $path_len) (i32.const {missing}) (i32.const {missing_len})))))
            (call $append (local.get $mount) (local.get $mount_len))
            (loop $next
              (call $append (i32.const {line_end}) (i32.const 1))
              (call $append (i32.load (local.get $record)) (i32.load offset=4 (local.get $record)))
              (call $append (i32.const {space}) (i32.const 1))
              (if (i32.load8_u offset=40 (local.get $record))
                (then
                  (call $read (i32.load offset=44 (local.get $record)) (i64.const 0) (i32.const 64) (i32.const 64))
                  (call $append (i32.load (i32.const 64)) (i32.load (i32.const 68))))
                (else (call $append (i32.const {dash}) (i32.const 1))))
              (local.set $record (i32.add (local.get $record) (i32.const 48)))
              (local.set $count (i32.sub (local.get $count) (i32.const 1)))
              (br_if $next (local.get $count)))
            (call $is (i32.const 16) (i32.const 0))
            (call $is_text (i32.const 20) (i32.const {plain}) (i32.const {plain_len}))
            (call $is_text (i32.const 28) (i32.const 32768) (i32.sub (global.get $end) (i32.const 32768)))
            (i32.const 16))
          (data (i32.const {DATA_AT}) "{constants}"))"#,
        constants = data.escaped(),
    );
    let mut module = wat::parse_str(module).expect("the text is a module");
    let mut resolve = wit_parser::Resolve::default();
    let (package, _) = resolve.push_dir("../wit/v1").expect("the contract");
    let world = resolve.select_world(&[package], Some("verifier")).expect("the contract has a world");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("the module takes a section");
    let encoder = ComponentEncoder::default().module(&module).expect("the module keeps to the contract");
    encoder.validate(true).encode().expect("the module becomes a component")
}
