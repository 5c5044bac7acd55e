package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	core "valence/atom/replay"
	"valence/internal/cli/client"
	"valence/internal/cli/replay"
	"valence/internal/cli/terminal"
	"valence/internal/clierror"
	"valence/internal/wire"
)

// replayed is the report on a replay, as JSON output has it.
type replayed struct {
	Atom     string `json:"atom,omitempty"`
	Replayed int    `json:"replayed"`
	Changed  int    `json:"changed"`
	Reason   string `json:"reason,omitempty"` // why nothing was replayed
	core.Outcome
}

// replayState is a replay of the operator API.
type replayState struct {
	ID     string          `json:"id"`
	Atom   string          `json:"atom"`
	State  string          `json:"state"`
	Done   int             `json:"done"`
	Total  int             `json:"total"`
	Error  string          `json:"error"`
	Result json.RawMessage `json:"result"`
}

// Hints of replays that cannot run.
const (
	upgradePlane  = "upgrade the control plane, or deploy without --replay"
	withoutReplay = "run the command again, or deploy without --replay"
)

// replay replays executions on an atom of the environment and prints the report.
// It returns an error if something would change and that refuses the deployment.
func (r *rollout) replay(ctx context.Context) error {
	if r.c.Replay == 0 {
		return nil
	}
	body := map[string]any{"package": r.pack.ID, "last": r.c.Replay, "atom": r.c.Atom}
	st, err := r.statement()
	if err != nil {
		return err
	}
	if st != nil {
		body["statement"], body["signature"] = st.text, st.signature
	}
	api := r.p.Operator()
	var state replayState
	if _, err := api.Call(ctx, http.MethodPost, "/environments/"+url.PathEscape(r.environment.ID)+"/replays", body, &state); err != nil {
		return explainReplay(err)
	}
	if state.State != wire.ReplayFinished {
		if state, err = r.followReplay(ctx, api, state); err != nil {
			return err
		}
	}
	return r.judgeReplay(state)
}

// explainReplay explains the error of a control plane without replays: the
// environment and the package exist.
func explainReplay(err error) error {
	if refused := (*client.Refused)(nil); errors.As(err, &refused) && refused.Status == http.StatusNotFound {
		return clierror.Failed(upgradePlane, "this control plane cannot replay executions")
	}
	return err
}

// followReplay prints the progress of a replay until it has ended.
func (r *rollout) followReplay(ctx context.Context, api *client.Cloud, state replayState) (replayState, error) {
	r.progress("replaying executions on %s", state.Atom)
	const every = 2 * time.Second
	path := "/replays/" + url.PathEscape(state.ID)
	for printed := time.Now(); ; {
		if terminal.Sleep(ctx, pollInterval) != nil {
			stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			if _, err := api.Call(stopping, http.MethodDelete, path, nil, nil); err != nil {
				return state, clierror.Failed("the atom ends it after a few minutes", "interrupted; the replay on %s continues, and nothing was deployed", state.Atom)
			}
			return state, clierror.Failed("run the command again", "interrupted; the replay was cancelled, and nothing was deployed")
		}
		if _, err := api.Call(ctx, http.MethodGet, path, nil, &state); err != nil {
			if ctx.Err() != nil {
				continue
			}
			return state, err
		}
		switch {
		case state.State == wire.ReplayFinished:
			return state, nil
		case state.State == wire.ReplayFailed:
			return state, clierror.Failed(withoutReplay, "the replay failed on %s, and nothing was deployed: %s", state.Atom, state.Error)
		case time.Since(printed) < every:
		case state.State == wire.ReplayQueued:
			printed = time.Now()
			r.progress("replaying waits for another replay on %s", state.Atom)
		case state.Total > 0:
			printed = time.Now()
			r.progress("replaying %d of %s", state.Done, terminal.Count(state.Total, "execution", "executions"))
		}
	}
}

// judgeReplay prints the report. With --fail-on-change it returns an error if
// executions would change, if none of them could be compared, or if the replay
// stopped before the last one.
func (r *rollout) judgeReplay(state replayState) error {
	r.replayed = &replayed{Atom: state.Atom, Reason: state.Error, Outcome: core.Outcome{Reports: []*core.Report{}}}
	out, skipped := r.replayed, 0
	if len(state.Result) > 0 {
		if err := json.Unmarshal(state.Result, &out.Outcome); err != nil {
			return clierror.Failed(withoutReplay, "the report of %s cannot be read: %v", state.Atom, err)
		}
	}
	for _, report := range out.Reports {
		out.Replayed += report.Replayed
		out.Changed += report.Changed
		for _, g := range report.Skipped {
			skipped += g.Count
		}
		if !r.c.JSON {
			if err := replay.Print(r.s.Out, report, false); err != nil {
				return err
			}
		}
	}
	if len(out.Reports) == 0 {
		if out.Reason == "" {
			out.Reason = fmt.Sprintf("%s has no finished executions of %s", state.Atom, r.project)
		}
		r.progress("nothing was replayed: %s", out.Reason)
	}
	if out.Stopped != "" {
		r.progress("%s", out.Stopped)
	}
	var refusal error
	switch {
	case !r.c.FailOnChange:
		return nil
	case out.Changed > 0:
		refusal = clierror.Invalid("correct the project and deploy another version; without --fail-on-change it is deployed all the same",
			"%s of %s would change, and nothing was deployed", terminal.Count(out.Changed, "execution", "executions"), r.project)
	case out.Stopped != "" || out.Replayed == 0 && skipped > 0:
		refusal = clierror.Invalid("see the report; without --fail-on-change the version is deployed all the same",
			"%s not compared, and nothing was deployed", terminal.Count(skipped+state.Total-state.Done, "execution was", "executions were"))
	default:
		return nil
	}
	if r.c.JSON {
		if err := r.printJSON(map[string]any{
			"project": r.project, "version": r.version, "package": r.pack.SHA256, "environment": r.environment.Name, "replay": out,
		}); err != nil {
			return err
		}
		return clierror.Reported{Code: clierror.ExitInvalid}
	}
	return refusal
}
