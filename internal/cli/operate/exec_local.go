package operate

import (
	"log/slog"
	"os"
	"time"

	"valence/atom/server"
	webhook "valence/connectors/http"
	"valence/internal/cli/client"
	"valence/internal/cli/project"
	"valence/internal/cli/terminal"
	"valence/internal/clierror"
	"valence/internal/version"
)

// localGrace is the time for the execution to finish when a local run stops.
const localGrace = 5 * time.Second

// runLocal runs the process on an atom of this command: without web services,
// with a temporary data folder, and called through its admin API.
func (c *ExecCommand) runLocal(s *terminal.Streams, req *execRequest) error {
	p, err := project.LoadValid(c.Project, s.Err)
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "valence-exec-")
	if err != nil {
		return clierror.Failed("set TMPDIR to a writable folder", "%v", err)
	}
	defer os.RemoveAll(folder)
	local, err := server.Open(server.Options{
		Data: folder, Environment: c.Environment, Admin: server.AdminOptions{Address: "127.0.0.1:0"}, Grace: localGrace,
		Version: version.String(), Catalog: project.Catalog(), Callbacks: webhook.Callbacks(version.String()),
		Log: slog.New(slog.NewTextHandler(s.Err, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return err
	}
	if err := local.Start(&server.Project{Project: p.Project, Files: p.Files}); err != nil {
		return local.StopAfter(err)
	}
	api := client.NewAtom(local.Address().Admin, local.AdminToken())
	return local.StopAfter(c.execute(s, api, req, true))
}
