package operate

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"valence/atom"
	"valence/internal/cli/client"
	"valence/internal/cli/terminal"
)

// searchNotice is the time between two lines that say how far a search is.
const searchNotice = 5 * time.Second

// executionList is a list of executions, as the admin API returns it.
type executionList struct {
	Executions    []json.RawMessage `json:"executions"`
	NextCursor    string            `json:"next_cursor,omitempty"`
	SearchedUntil *time.Time        `json:"searched_until,omitempty"`
}

// eachPage calls do with each page of a list until it returns false or the list
// ends. A page may end before it is full: the atom limits the time that it
// searches for one.
func eachPage(s *terminal.Streams, f *client.AtomFlags, path string, query url.Values, do func(*executionList) bool) error {
	api, err := f.Connect()
	if err != nil {
		return err
	}
	for told := time.Now(); ; {
		text, err := api.Call(context.Background(), http.MethodGet, path+"?"+query.Encode(), nil)
		if err != nil {
			return err
		}
		page := &executionList{}
		if err := json.Unmarshal(text, page); err != nil {
			return err
		}
		if !do(page) || page.NextCursor == "" {
			return nil
		}
		if page.SearchedUntil != nil && time.Since(told) > searchNotice {
			told = time.Now()
			fmt.Fprintln(s.Err, "searched back to", terminal.Timestamp(page.SearchedUntil))
		}
		query.Set("cursor", page.NextCursor)
	}
}

// search returns up to limit executions of a list, from any number of pages.
func search(s *terminal.Streams, f *client.AtomFlags, path string, query url.Values, limit int) (*executionList, error) {
	all := &executionList{Executions: []json.RawMessage{}}
	err := eachPage(s, f, path, query, func(page *executionList) bool {
		all.Executions = append(all.Executions, page.Executions...)
		all.NextCursor, all.SearchedUntil = page.NextCursor, page.SearchedUntil
		query.Set("limit", strconv.Itoa(max(1, limit-len(all.Executions))))
		return len(all.Executions) < limit
	})
	return all, err
}

// print prints the list, or none if it is empty.
func (l *executionList) print(s *terminal.Streams, asJSON bool, none string) error {
	if asJSON {
		text, err := json.Marshal(l)
		if err != nil {
			return err
		}
		return terminal.PrintJSON(s.Out, text)
	}
	if len(l.Executions) == 0 {
		fmt.Fprintln(s.Err, none)
		return nil
	}
	t := &terminal.Table{Head: []string{"EXECUTION", "PROCESS", "STATUS", "RECEIVED", "TOOK", "DETAIL"}}
	for _, text := range l.Executions {
		var v atom.ExecutionView
		if err := json.Unmarshal(text, &v); err != nil {
			return err
		}
		t.Add(v.Execution, v.Process, status(&v), terminal.Ago(v.ReceivedAt), duration(&v), detail(&v))
	}
	if err := t.Print(s.Out); err != nil {
		return err
	}
	printMore(s, l.NextCursor)
	return nil
}
