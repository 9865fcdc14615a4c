"""The old service's documented calls in Python. Run by migration.test.mjs, which looks at what arrives."""

import broadcastd as server
from broadcastd import createBroadcastIntegrations

server.configure(deadline=60)
broadcast_service = server.getBroadcastService()
if broadcast_service:
    broadcast_service.broadcastAgentState(
        {
            "agentId": "my-agent",
            "status": "active",
            "currentTask": "Processing user request",
            "resourceUsage": {"cpu": 45.2, "memory": 67.8, "activeConnections": 3},
        }
    )
integrations = createBroadcastIntegrations(broadcast_service)
workflow_monitor = integrations.workflowExecution
workflow_monitor.startWorkflow("user-request-workflow", "exec-123", "agent-1")
workflow_monitor.updateWorkflowProgress("user-request-workflow", "exec-123", "processing", 50)
workflow_monitor.completeWorkflow("user-request-workflow", "exec-123", {"result": "success"})

integrations = server.create_broadcast_integrations()
integrations.agentState.reportAgentStateChange("a", "busy", {"currentTask": "reading", "run": 7})
integrations.agent_state.report_agent_error("a", ValueError("broken"), {"code": 5})
server.start_workflow("w", "e")
server.update_workflow_progress("w", "e", "late", 250)
server.failWorkflow("w", "e", "broken", "a")
integrations.memoryTimeline.trackMemoryCreation("m", "text", 0.5, ["t"], "a")
integrations.memory_timeline.track_memory_access("m", 0.5, ["t"])
integrations.memoryTimeline.trackMemoryUpdate("m", "more", 0.6, [])
integrations.memoryTimeline.trackMemoryDeletion("m", 0.6, [], None)
integrations.healthMonitor.broadcastHealthAlert("critical", "db", "down", {"since": 1})
integrations.health_monitor.broadcast_service_health("db", "degraded", 12.5, {"slow": True})
assert server.flush(), server.stats()
assert server.stats()["rejected"] == 0, server.stats()
