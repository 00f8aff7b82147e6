//! The engine that all components of a process share, and the way from a module's bytes to a [`Verifier`].
//!
//! Owns the engine's configuration (everything that could make an answer depend on the machine is off), the check of a component's imports
//! and exports, and the way of a module from its bytes. Compiles modules up to a size, each by itself. Never loads code that another program compiled.

use std::io;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use pyrsia_ledger::Sha256Digest;
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, WasmBacktraceDetails};

use crate::admission::Admission;
use crate::call::Call;
use crate::compiled::{self, CompiledModules};
use crate::compiler::{Answer, Compiler};
use crate::contract::{self, VERSION};
use crate::limits::{self, Limits};
use crate::loaded::LoadedModules;
use crate::outcome::Abstention;
use crate::verifier::Verifier;

/// A component consists of a few core modules: the code and the glue the linker adds.
const CORE_INSTANCES_PER_COMPONENT_MAX: u32 = 8;
const MEMORIES_PER_COMPONENT_MAX: u32 = 2;
const TABLES_PER_COMPONENT_MAX: u32 = 8;

#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("the WASM engine cannot be set up on this machine: {reason}")]
    Engine { reason: String },
    #[error("the thread that enforces deadlines cannot be started")]
    Thread(#[source] io::Error),
}

/// Why a module is not a verifier.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum LoadError {
    #[error("the module has {size} bytes, {max} are allowed")]
    TooLarge { size: u64, max: u64 },
    #[error("it is not a WebAssembly component: {reason}")]
    Malformed { reason: String },
    #[error("it imports `{import}`, which verifiers are not given")]
    ForeignImport { import: String },
    #[error("it is written for version {found} of the contract `pyrsia:verifier`, this node speaks {VERSION}")]
    OtherVersion { found: String },
    #[error("it does not fulfil the contract `pyrsia:verifier` {VERSION}: {reason}")]
    WrongContract { reason: String },
    #[error("it cannot be compiled: {reason}")]
    Compiling { reason: String },
    /// Says nothing about the module: it may load the next time.
    #[error("the process that compiles it was ended twice from outside, the last time by signal {signal}")]
    Interrupted { signal: i32 },
    #[error("it cannot say what it is for")]
    Describe(#[source] Abstention),
}

/// How much a compiler takes pains. Verdicts are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Optimization {
    #[default]
    Speed,
    None,
}

#[derive(Debug, Default)]
pub struct HostOptions {
    pub optimization: Optimization,
    /// Where compiled modules outlast the process.
    pub compiled: Option<CompiledModules>,
    /// Who compiles for speed; otherwise, and where it cannot be started, this process does.
    pub compiler: Option<Compiler>,
}

/// A cheap clone.
#[derive(Clone)]
pub struct VerifierHost {
    sandbox: Arc<Sandbox>,
    loaded: Arc<LoadedModules>,
    compiled: Arc<Option<CompiledModules>>,
    compiler: Option<Compiler>,
    /// One module at a time is compiled by this process, for the sake of its memory.
    compiling: Arc<Mutex<()>>,
}

/// What a call needs besides its component.
pub(crate) struct Sandbox {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<Call>,
    pub(crate) limits: Limits,
    pub(crate) admission: Admission,
}

impl VerifierHost {
    pub fn new(limits: Limits) -> Result<Self, HostError> {
        Self::with_options(limits, HostOptions::default())
    }

    pub fn with_options(limits: Limits, options: HostOptions) -> Result<Self, HostError> {
        let engine_error = |error: wasmtime::Error| HostError::Engine { reason: format!("{error:#}") };
        let engine = Engine::new(&configuration(&limits, options.optimization)).map_err(engine_error)?;
        let mut linker = Linker::new(&engine);
        contract::Verifier::add_to_linker::<_, HasSelf<Call>>(&mut linker, |call| call).map_err(engine_error)?;
        let admission = Admission::new(engine.clone(), limits::CALLS_AT_ONCE_MAX).map_err(HostError::Thread)?;
        let sandbox = Arc::new(Sandbox { engine, linker, limits, admission });
        let compiler = options.compiler.filter(|_| options.optimization == Optimization::Speed);
        Ok(Self { sandbox, loaded: Arc::default(), compiled: Arc::new(options.compiled), compiler, compiling: Arc::default() })
    }

    /// Compiles a module and asks it what it is for. A module that was loaded before is not compiled again.
    pub fn load(&self, module: &[u8]) -> Result<Verifier, LoadError> {
        let size = module.len() as u64;
        if size > limits::MODULE_BYTES_MAX {
            return Err(LoadError::TooLarge { size, max: limits::MODULE_BYTES_MAX });
        }
        let digest = Sha256Digest::of(module);
        self.loaded.get(digest, || Verifier::new(self.sandbox.clone(), digest, self.component(&digest, module)?))
    }

    fn component(&self, digest: &Sha256Digest, module: &[u8]) -> Result<contract::VerifierPre<Call>, LoadError> {
        let Sandbox { engine, linker, .. } = &*self.sandbox;
        let component = self.compile(digest, module)?;
        let exports = component.component_type();
        let version = exports.exports(engine).find_map(|(name, _)| name.strip_prefix(contract::EXPORT));
        if let Some(found) = version.filter(|version| *version != VERSION) {
            return Err(LoadError::OtherVersion { found: found.into() });
        }
        for (import, _) in component.component_type().imports(engine) {
            if !contract::OFFERED_IMPORTS.contains(&import) {
                return Err(LoadError::ForeignImport { import: import.into() });
            }
        }
        let wrong_contract = |error: wasmtime::Error| LoadError::WrongContract { reason: format!("{error:#}") };
        contract::VerifierPre::new(linker.instantiate_pre(&component).map_err(wrong_contract)?).map_err(wrong_contract)
    }

    fn compile(&self, digest: &Sha256Digest, module: &[u8]) -> Result<Component, LoadError> {
        let engine = &self.sandbox.engine;
        if let Some(component) = self.compiled.as_ref().as_ref().and_then(|compiled| compiled.component(engine, digest)) {
            return Ok(component);
        }
        if let Some(serialized) = self.compile_elsewhere(digest, module)? {
            match compiled::deserialize(engine, &serialized) {
                Ok(component) => {
                    self.keep(digest, || Ok(serialized));
                    return Ok(component);
                }
                Err(error) => tracing::warn!(module = %digest, %error, "the node's compiler does not compile for this node"),
            }
        }
        let _compiling = self.compiling.lock().unwrap_or_else(PoisonError::into_inner);
        let component =
            Component::from_binary(engine, module).map_err(|error| LoadError::Malformed { reason: format!("{error:#}") })?;
        self.keep(digest, || component.serialize());
        Ok(component)
    }

    /// None where this process has to compile.
    fn compile_elsewhere(&self, digest: &Sha256Digest, module: &[u8]) -> Result<Option<Vec<u8>>, LoadError> {
        let Some(compiler) = &self.compiler else { return Ok(None) };
        let answer = match compiler.compile(module) {
            Ok(Answer::Interrupted(signal)) => {
                tracing::warn!(module = %digest, signal, "the process that compiles a verifier was ended; it is started once more");
                compiler.compile(module)
            }
            answer => answer,
        };
        match answer {
            Ok(Answer::Compiled(serialized)) => {
                tracing::debug!(module = %digest, bytes = serialized.len(), "a verifier was compiled in a process of its own");
                Ok(Some(serialized))
            }
            Ok(Answer::Refused(reason)) => Err(LoadError::Malformed { reason }),
            Ok(Answer::Broken(reason)) => Err(LoadError::Compiling { reason }),
            Ok(Answer::Interrupted(signal)) => Err(LoadError::Interrupted { signal }),
            Err(error) => {
                tracing::warn!(module = %digest, %error, "no process compiles a verifier; the node does it itself");
                Ok(None)
            }
        }
    }

    /// What `load` would compile, as bytes; why it is no module otherwise.
    pub(crate) fn serialized(&self, module: &[u8]) -> Result<Vec<u8>, String> {
        self.sandbox.engine.precompile_component(module).map_err(|error| format!("{error:#}"))
    }

    fn keep(&self, digest: &Sha256Digest, serialized: impl FnOnce() -> wasmtime::Result<Vec<u8>>) {
        if let Some(compiled) = &*self.compiled {
            compiled.keep(digest, serialized);
        }
    }
}

fn configuration(limits: &Limits, optimization: Optimization) -> Config {
    let places = limits::CALLS_AT_ONCE_MAX;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(places)
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT_MAX)
        .max_memories_per_component(MEMORIES_PER_COMPONENT_MAX)
        .max_tables_per_component(TABLES_PER_COMPONENT_MAX)
        .max_tables_per_module(TABLES_PER_COMPONENT_MAX)
        .total_core_instances(places * CORE_INSTANCES_PER_COMPONENT_MAX)
        .total_memories(places * MEMORIES_PER_COMPONENT_MAX)
        .total_tables(places * TABLES_PER_COMPONENT_MAX)
        .max_memory_size(usize::try_from(limits.memory_bytes).unwrap_or(usize::MAX))
        .table_elements(limits.table_elements as usize);
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .cranelift_opt_level(match optimization {
            Optimization::Speed => OptLevel::Speed,
            Optimization::None => OptLevel::None,
        })
        .consume_fuel(true)
        .epoch_interruption(true)
        .max_wasm_stack(limits::STACK_BYTES)
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_backtrace_max_frames(None::<NonZeroUsize>)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}
