// The integration objects of the service that broadcastd replaces, and the check of what producers' functions are called with.

import { must } from "./protocol.js";

/** @typedef {{ kind: string, fits: (it: any) => boolean }} Kind */
/** @typedef {import("../types/producer.d.ts").Producer} Producer */

/** @type {Kind} */
const text = { kind: "a string", fits: (it) => typeof it === "string" };
/** @type {Kind} */
const number = { kind: "a number", fits: (it) => typeof it === "number" && !Number.isNaN(it) };
/** @type {Kind} */
const object = { kind: "an object", fits: (it) => typeof it === "object" && it !== null && !Array.isArray(it) };

/** What a parameter must be. Those without an entry are strings. @type {Record<string, Kind>} */
const KINDS = {
  fields: object,
  options: object,
  metadata: object,
  details: object,
  progress: number,
  importance: number,
  responseTime: number,
  // A timer takes no longer wait, and makes anything else a flood.
  intervalMs: { kind: "milliseconds from 1 to 2147483647", fits: (it) => it >= 1 && it < 2 ** 31 && typeof it === "number" },
  tags: { kind: "a list of strings", fits: (it) => Array.isArray(it) && it.every(text.fits) },
  health: { kind: '"healthy", "degraded" or "unhealthy"', fits: (it) => Object.hasOwn(SCORES, it) },
  error: { kind: "an Error or a string", fits: (it) => it !== undefined && it !== null },
  result: { kind: "a value", fits: () => true },
};

/** What a service's health is as a metric, in percent. @type {Record<string, number>} */
const SCORES = { healthy: 100, degraded: 50, unhealthy: 0 };

/**
 * Throws a `TypeError` that shows the right call if the arguments are others.
 * @param {string} call `name(parameter, optional?)`
 * @param {ArrayLike<any>} values
 * @param {string} [shown] The call as people write it, if that is more.
 */
export function check(call, values, shown = call) {
  const [, ...parameters] = /** @type {string[]} */ (call.match(/\w+\??/g));
  for (const [index, parameter] of parameters.entries()) {
    const name = parameter.replace("?", "");
    const { kind, fits } = KINDS[name] ?? text;
    const value = values[index];
    must(fits(value) || (parameter !== name && (value === undefined || value === null)), `${name} must be ${kind}`, value, shown);
  }
}

/** An error's text, whatever was thrown. @param {any} error */
export function textOf(error) {
  try {
    return String(error.message ?? error);
  } catch {
    return "an error without a text";
  }
}

/**
 * The groups of the old service, on the service that `service` gives at each call.
 * @param {() => Producer} service
 */
export function integrationsOf(service) {
  /** @param {string} agentId @param {any} status @param {any} [metadata] */
  const state = (agentId, status, metadata) =>
    service().broadcastAgentState({ agentId, status, currentTask: metadata?.currentTask, metadata: metadata ?? undefined });
  /** @param {string} metricName @param {number} value @param {string} unit @param {any} [metadata] */
  const metric = (metricName, value, unit, metadata) =>
    service().broadcastPerformanceMetric({ metricName, value, unit, category: "system", metadata });
  /** @param {any} severity @param {string} component @param {string} message @param {any} details */
  const alert = (severity, component, message, details) =>
    service().broadcastSystemAlert({ severity, component, message, details: details ?? undefined });
  /** @param {string} action @param {any} fields @param {any} agentId */
  const memory = (action, fields, agentId) =>
    service().broadcastMemoryTimeline({ action, ...fields, agentId: agentId ?? undefined });

  return {
    agentState: {
      /** @param {string} agentId @param {string} status @param {any} [metadata] */
      reportAgentStateChange(agentId, status, metadata) {
        check("reportAgentStateChange(agentId, status, metadata?)", arguments);
        return state(agentId, status, metadata);
      },
      /** @param {string} agentId @param {any} error @param {any} [details] */
      reportAgentError(agentId, error, details) {
        check("reportAgentError(agentId, error, details?)", arguments);
        const told = textOf(error);
        const isTaken = state(agentId, "error", { error: told, details });
        return alert("error", `agent:${agentId}`, `agent ${agentId} failed: ${told}`, { agentId, error: told, ...details }) && isTaken;
      },
    },
    performanceMetrics: {
      /** @param {number} [intervalMs] */
      startStreaming: (intervalMs) => service().startStreaming(intervalMs),
      stopStreaming: () => service().stopStreaming(),
    },
    workflowExecution: {
      /** @param {Parameters<Producer["startWorkflow"]>} values */
      startWorkflow: (...values) => service().startWorkflow(...values),
      /** @param {Parameters<Producer["updateWorkflowProgress"]>} values */
      updateWorkflowProgress: (...values) => service().updateWorkflowProgress(...values),
      /** @param {Parameters<Producer["completeWorkflow"]>} values */
      completeWorkflow: (...values) => service().completeWorkflow(...values),
      /** @param {Parameters<Producer["failWorkflow"]>} values */
      failWorkflow: (...values) => service().failWorkflow(...values),
    },
    memoryTimeline: {
      /** @param {string} memoryId @param {string} content @param {number} importance @param {string[]} tags @param {string} [agentId] */
      trackMemoryCreation(memoryId, content, importance, tags, agentId) {
        check("trackMemoryCreation(memoryId, content, importance, tags, agentId?)", arguments);
        return memory("created", { memoryId, content, importance, tags }, agentId);
      },
      /** @param {string} memoryId @param {number} importance @param {string[]} tags @param {string} [agentId] */
      trackMemoryAccess(memoryId, importance, tags, agentId) {
        check("trackMemoryAccess(memoryId, importance, tags, agentId?)", arguments);
        return memory("accessed", { memoryId, importance, tags }, agentId);
      },
      /** @param {string} memoryId @param {string} content @param {number} importance @param {string[]} tags @param {string} [agentId] */
      trackMemoryUpdate(memoryId, content, importance, tags, agentId) {
        check("trackMemoryUpdate(memoryId, content, importance, tags, agentId?)", arguments);
        return memory("updated", { memoryId, content, importance, tags }, agentId);
      },
      /** @param {string} memoryId @param {number} importance @param {string[]} tags @param {string} [agentId] */
      trackMemoryDeletion(memoryId, importance, tags, agentId) {
        check("trackMemoryDeletion(memoryId, importance, tags, agentId?)", arguments);
        return memory("deleted", { memoryId, importance, tags }, agentId);
      },
    },
    healthMonitor: {
      /** @param {string} severity @param {string} component @param {string} message @param {any} [details] */
      broadcastHealthAlert(severity, component, message, details) {
        check("broadcastHealthAlert(severity, component, message, details?)", arguments);
        return alert(severity, component, message, details);
      },
      /** @param {string} serviceName @param {string} health @param {number} [responseTime] @param {any} [details] */
      broadcastServiceHealth(serviceName, health, responseTime, details) {
        check("broadcastServiceHealth(serviceName, health, responseTime?, details?)", arguments);
        metric(`service.${serviceName}.health`, SCORES[health], "percent", { status: health, details: details ?? undefined });
        if (typeof responseTime === "number") metric(`service.${serviceName}.responseTime`, responseTime, "milliseconds");
        if (health !== "healthy") alert(health === "degraded" ? "warning" : "error", serviceName, `service ${serviceName} is ${health}`, details);
      },
    },
  };
}
