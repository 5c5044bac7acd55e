package cli

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"time"
)

// local runs the process here: an atom without web services on a store that
// is thrown away, asked through the same API as any other.
func (c *execCmd) local(s *streams, req *request) error {
	project, err := loadRight(c.Project, s.err)
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "valence-exec-")
	if err != nil {
		return failed("a TMPDIR that can be written to", "%v", err)
	}
	defer os.RemoveAll(folder)
	st, err := open(&stationOptions{
		places: placeFlags{Data: folder, Environment: c.Environment},
		serve:  serveFlags{Admin: "127.0.0.1:0", Grace: 5 * time.Second},
		log:    slog.New(slog.NewTextHandler(s.err, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return err
	}
	if err := st.start(project); err != nil {
		return finish(st, err)
	}
	return finish(st, c.locally(s, st, req))
}

func (c *execCmd) locally(s *streams, st *station, req *request) error {
	api := &client{peer{base: st.address.Admin, token: st.token, http: &http.Client{Timeout: time.Minute}, what: "atom", start: "the same again"}}
	ctx := context.Background()
	text, err := api.call(ctx, "POST", "/processes/"+url.PathEscape(c.Process)+"/executions", req)
	if err != nil {
		return err
	}
	var receipt struct{ Execution, Status string }
	if err := json.Unmarshal(text, &receipt); err != nil {
		return err
	}
	if receipt.Execution == "" {
		return printJSON(s.out, text)
	}
	return c.await(ctx, s, func(ctx context.Context) ([]byte, error) {
		return api.call(ctx, "GET", "/executions/"+url.PathEscape(receipt.Execution), nil)
	})
}
