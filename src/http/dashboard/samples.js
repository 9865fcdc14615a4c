// An event of each built-in type, to be published as it stands.

export const SAMPLES = {
  agent_state: '{"type":"agent_state","agentId":"42","status":"busy","resourceUsage":{"cpu":12.5,"memory":40,"activeConnections":3}}',
  performance_metric: '{"type":"performance_metric","metricName":"queue.depth","value":12,"unit":"jobs","category":"system"}',
  workflow_execution: '{"type":"workflow_execution","workflowId":"import","executionId":"e1","stage":"read","status":"running","progress":20}',
  memory_timeline: '{"type":"memory_timeline","memoryId":"m1","action":"created","importance":0.7,"tags":["plan"],"content":"a first memory"}',
  system_alert: '{"type":"system_alert","severity":"info","component":"me","message":"a first alert"}',
};
