// Package operate has the commands that call the admin API of an atom.
package operate

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"valence/internal/cli/client"
	"valence/internal/cli/terminal"
	"valence/internal/clierror"
)

// get connects to an atom and makes one GET request.
func get(f *client.AtomFlags, path string) (json.RawMessage, error) {
	return call(f, http.MethodGet, path)
}

// call connects to an atom and makes one request without a body.
func call(f *client.AtomFlags, method, path string) (json.RawMessage, error) {
	api, err := f.Connect()
	if err != nil {
		return nil, err
	}
	return api.Call(context.Background(), method, path, nil)
}

// pageFlags select one page of a list.
type pageFlags struct {
	Limit  int    `default:"50" help:"Number of entries, 1 to 500."`
	Cursor string `placeholder:"CURSOR" help:"Continue a list: the next_cursor of --json."`
}

// query returns the page as query parameters.
func (p *pageFlags) query() (url.Values, error) {
	if p.Limit < 1 || p.Limit > 500 {
		return nil, clierror.Usage("--limit 500, and --cursor for more", "--limit must be between 1 and 500")
	}
	q := url.Values{"limit": {strconv.Itoa(p.Limit)}}
	if p.Cursor != "" {
		q.Set("cursor", p.Cursor)
	}
	return q, nil
}

// printMore prints the flag that continues a list, if it has more entries.
func printMore(s *terminal.Streams, cursor string) {
	if cursor != "" {
		fmt.Fprintf(s.Err, "There are more: --cursor %s\n", cursor)
	}
}

// filterFlags select executions by their messages.
type filterFlags struct {
	Process string            `placeholder:"NAME" help:"Only executions of this process."`
	Since   string            `placeholder:"WHEN" help:"Only executions received since: a duration before now, such as 30m, 24h or 7d, or a time such as 2026-01-02T15:04:05Z."`
	Track   map[string]string `placeholder:"NAME=VALUE" help:"Only executions with this value of a tracked field."`
	Q       string            `name:"q" placeholder:"TEXT" help:"Only executions with this text in the id, a tracked value or the error, or with this correlation id."`
}

// fields returns the filter as fields of a request body.
func (f *filterFlags) fields() (map[string]any, error) {
	fields := map[string]any{}
	for key, value := range map[string]string{"process": f.Process, "q": f.Q} {
		if value != "" {
			fields[key] = value
		}
	}
	if f.Since != "" {
		t, err := terminal.ParseSince(f.Since, time.Now())
		if err != nil {
			return nil, err
		}
		fields["since"] = t.Format(time.RFC3339)
	}
	if len(f.Track) > 0 {
		fields["track"] = f.Track
	}
	return fields, nil
}

// addTo adds the filter to query parameters.
func (f *filterFlags) addTo(q url.Values) error {
	fields, err := f.fields()
	if err != nil {
		return err
	}
	for key, v := range fields {
		if text, ok := v.(string); ok {
			q.Set(key, text)
		}
	}
	for name, value := range f.Track {
		q.Set("track."+name, value)
	}
	return nil
}
