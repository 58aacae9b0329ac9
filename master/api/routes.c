/* The table of routes: one row each. */
#include "master/api/api.h"
#include "master/config/tokens.h"

#define V1 "/api/v1"

const struct http_route api_routes[] = {
        { HTTP_POST, V1 "/agents/spawn", api_agents_spawn, TOKEN_OPERATE },
        { HTTP_POST, V1 "/agents/terminate", api_agents_terminate, TOKEN_OPERATE },
        { HTTP_POST, V1 "/agents/bulk/spawn", api_bulk_spawn, TOKEN_OPERATE },
        { HTTP_POST, V1 "/agents/bulk/terminate", api_bulk_terminate, TOKEN_OPERATE },
        { HTTP_POST, V1 "/agents/bulk/restart", api_bulk_restart, TOKEN_OPERATE },
        { HTTP_POST, V1 "/agents/import", api_agents_import, TOKEN_ADMIN },
        { HTTP_GET, V1 "/agents", api_agents_list, TOKEN_READ },
        { HTTP_GET, V1 "/agents/health", api_agents_health, TOKEN_READ },
        { HTTP_GET, V1 "/agents/project/{project_id}", api_agents_by_project, TOKEN_READ },
        { HTTP_GET, V1 "/agents/pools", api_pools_list, TOKEN_READ },
        { HTTP_GET, V1 "/agents/pools/{name}", api_pools_get, TOKEN_READ },
        { HTTP_POST, V1 "/agents/pools/{name}/drain", api_pools_drain, TOKEN_ADMIN },
        { HTTP_POST, V1 "/agents/pools/{name}/resume", api_pools_resume, TOKEN_ADMIN },
        { HTTP_POST, V1 "/agents/pools/{name}/restart", api_pools_restart, TOKEN_ADMIN },
        { HTTP_POST, V1 "/agents/pools/{name}/rollout", api_pools_rollout, TOKEN_ADMIN },
        { HTTP_POST, V1 "/agents/pools/{name}/rollback", api_pools_rollback, TOKEN_ADMIN },
        { HTTP_POST, V1 "/agents/pools/{name}/reset", api_pools_reset, TOKEN_ADMIN },
        { HTTP_GET, V1 "/agents/pools/{name}/processes", api_pools_processes, TOKEN_READ },
        { HTTP_GET, V1 "/agents/metrics/processes", api_processes, TOKEN_READ },
        { HTTP_GET, V1 "/agents/{agent_id}", api_agents_get, TOKEN_READ },
        { HTTP_POST, V1 "/agents/{agent_id}/messages", api_agents_message, TOKEN_OPERATE },
        { HTTP_POST, V1 "/agents/{agent_id}/restart", api_agents_restart, TOKEN_OPERATE },
        { HTTP_GET, V1 "/agents/{agent_id}/why", api_agents_why, TOKEN_READ },
        { HTTP_GET, V1 "/agents/{agent_id}/events", api_agents_events, TOKEN_READ },
        { HTTP_GET, V1 "/agents/{agent_id}/logs", api_agents_logs, TOKEN_READ },
        { HTTP_GET, V1 "/agents/pools/events", api_pools_events, TOKEN_READ },
        { HTTP_GET, V1 "/agents/executions", api_executions_list, TOKEN_READ },
        { HTTP_GET, V1 "/executions/{execution_id}", api_executions_get, TOKEN_READ },
        { HTTP_GET, V1 "/executions/stats/summary", api_executions_summary, TOKEN_READ },
        { HTTP_GET, V1 "/agents/metrics/timeseries", api_timeseries, TOKEN_READ },
        { HTTP_GET, V1 "/stats", api_stats, TOKEN_READ },
        { HTTP_GET, "/livez", api_livez, TOKEN_NOBODY },
        { HTTP_GET, "/readyz", api_readyz, TOKEN_READ },
        { HTTP_GET, "/health", api_health, TOKEN_READ },
        { HTTP_GET, "/metrics", api_metrics, TOKEN_READ },
        { HTTP_GET, "/openapi.json", api_openapi, TOKEN_READ },
        { 0, NULL, NULL, 0 },
};

bool api_resumes(const struct http_route *route)
{
        return route->handle == api_agents_message || route->handle == api_agents_spawn || route->handle == api_bulk_spawn;
}
