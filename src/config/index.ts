// `plimsoll/config`: the effective configuration and where each value was set.

export { Config, type ConfigEntry } from './config.ts'
export { CONFIG_KEY_NAMES, CONFIG_KEYS, type ConfigKey, type ConfigValues, entryOf } from './defaults.ts'
export { configFiles, configPaths } from './files.ts'
export { type KeyEntry, type Kind, LOG_LEVELS, type LogLevel } from './kinds.ts'
export { loadConfig, type LoadOptions } from './load.ts'
export { parseMemoryLimit, resolveMemoryLimit, systemMemoryLimit } from './memory-limit.ts'
export { acceptedBy } from './schema.ts'
export { findKey } from './settings.ts'
export type { ConfigSource } from './source.ts'
