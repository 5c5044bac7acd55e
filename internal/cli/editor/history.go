package editor

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"valence/atom"
	"valence/internal/lsp"
)

// history reads the newest execution of a process from the admin API of an atom,
// which masks secrets. The data folder may come with the workspace, so it is not
// trusted.
func (c *Command) history(ctx context.Context, of lsp.Atom, process string) (*lsp.Execution, error) {
	flags := c.AtomFlags
	flags.Data, flags.Admin = of.Data, of.Admin
	api, err := flags.ConnectUntrusted()
	if err != nil {
		return nil, err
	}
	query := url.Values{"process": {process}, "limit": {"1"}, "status": {"completed,completed_with_warnings,failed"}}
	text, err := api.Call(ctx, http.MethodGet, "/executions?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	var page struct {
		Executions []struct{ Execution string }
	}
	if err := json.Unmarshal(text, &page); err != nil || len(page.Executions) == 0 {
		return nil, err
	}
	if text, err = api.Call(ctx, http.MethodGet, "/executions/"+url.PathEscape(page.Executions[0].Execution), nil); err != nil {
		return nil, err
	}
	var v atom.ExecutionView
	if err := json.Unmarshal(text, &v); err != nil {
		return nil, err
	}
	x := &lsp.Execution{ID: v.Execution, At: v.ReceivedAt, Input: dataOf(v.Input), Props: v.Props}
	for _, s := range v.Steps {
		x.Steps = append(x.Steps, lsp.ExecutedStep{Path: s.Path, Kind: s.Kind, Name: s.Name, Document: dataOf(s.Document), Set: s.Set})
	}
	return x, nil
}

// dataOf returns a document as JSON; nil if it is not stored as that.
func dataOf(v *atom.DocumentView) json.RawMessage {
	if v == nil || v.Data == nil {
		return nil
	}
	text, err := json.Marshal(v.Data)
	if err != nil {
		return nil
	}
	return text
}
