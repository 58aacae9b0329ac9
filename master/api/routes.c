#include "master/api/api.h"

#define V1 "/api/v1"

const struct http_route api_routes[] = {
        { HTTP_POST, V1 "/agents/spawn", api_agents_spawn },
        { HTTP_POST, V1 "/agents/terminate", api_agents_terminate },
        { HTTP_POST, V1 "/agents/import", api_agents_import },
        { HTTP_GET, V1 "/agents", api_agents_list },
        { HTTP_GET, V1 "/agents/health", api_agents_health },
        { HTTP_GET, V1 "/agents/project/{project_id}", api_agents_by_project },
        { HTTP_GET, V1 "/agents/pools", api_pools_list },
        { HTTP_GET, V1 "/agents/pools/{name}", api_pools_get },
        { HTTP_POST, V1 "/agents/pools/{name}/rollout", api_pools_rollout },
        { HTTP_GET, V1 "/agents/pools/{name}/processes", api_pools_processes },
        { HTTP_GET, V1 "/agents/metrics/processes", api_processes },
        { HTTP_GET, V1 "/agents/{agent_id}", api_agents_get },
        { HTTP_POST, V1 "/agents/{agent_id}/messages", api_agents_message },
        { HTTP_POST, V1 "/agents/{agent_id}/restart", api_agents_restart },
        { HTTP_GET, V1 "/agents/{agent_id}/why", api_agents_why },
        { HTTP_GET, V1 "/agents/{agent_id}/events", api_agents_events },
        { HTTP_GET, V1 "/agents/pools/events", api_pools_events },
        { HTTP_GET, V1 "/agents/executions", api_executions_list },
        { HTTP_GET, V1 "/executions/{execution_id}", api_executions_get },
        { HTTP_GET, V1 "/executions/stats/summary", api_executions_summary },
        { HTTP_GET, V1 "/agents/metrics/timeseries", api_timeseries },
        { HTTP_GET, V1 "/stats", api_stats },
        { HTTP_GET, "/livez", api_livez },
        { HTTP_GET, "/readyz", api_readyz },
        { HTTP_GET, "/health", api_health },
        { 0, NULL, NULL },
};
