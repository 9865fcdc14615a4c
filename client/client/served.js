// The address of the daemon that served these modules. It serves a file of its own in place of this one (src/http/client.rs).

/** @type {string | undefined} */
export const SOCKET = undefined;
