package console

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"valence/cloud"
)

// Refresh intervals of visible pages.
const (
	liveEvery = 5 * time.Second
	soonEvery = time.Second
)

// pageSize is the number of rows per page.
const pageSize = 100

// maxProblems is the number of problems on the overview.
const maxProblems = 20

// overviewData is the overview page.
type overviewData struct {
	Total, Online, Offline, Troubled int
	Environments                     []cloud.Environment
	Problems                         []*problem
	More                             int // problems not shown
	Rows                             []*row
	Found                            int // matching rows
	Text, State, Place               string
	Pages                            pages
	Failures                         []*cloud.ExecutionRecord
}

// Filtered reports whether a filter is set.
func (d *overviewData) Filtered() bool { return d.Text != "" || d.State != "" || d.Place != "" }

// pages holds the links between numbered pages.
type pages struct {
	From, To, Of   int
	Before, Behind string // "" if there is none
}

// cutPage returns one page of a list.
func cutPage[T any](all []T, at *url.URL) ([]T, pages) {
	page, _ := strconv.Atoi(at.Query().Get("page")) // an invalid number means the first page
	page = min(max(page, 1), max(1, (len(all)+pageSize-1)/pageSize))
	from, to := (page-1)*pageSize, min(page*pageSize, len(all))
	link := func(n int) string {
		q := at.Query()
		q.Set("page", strconv.Itoa(n))
		q.Del("done")
		return at.Path + "?" + q.Encode()
	}
	p := pages{From: from + 1, To: to, Of: len(all)}
	if page > 1 {
		p.Before = link(page - 1)
	}
	if to < len(all) {
		p.Behind = link(page + 1)
	}
	return all[from:to], p
}

// overview serves the first page: problems, then every atom.
func (c *console) overview(v *visit) (*answer, error) {
	f, err := c.fleet(v)
	if err != nil {
		return nil, err
	}
	q := v.URL.Query()
	d := &overviewData{Total: len(f.rows), Online: f.online, Offline: len(f.rows) - f.online, Troubled: f.troubled, Environments: f.environments,
		Problems: f.problems, Text: strings.TrimSpace(q.Get("q")), State: q.Get("state"), Place: q.Get("environment")}
	if len(d.Problems) > maxProblems {
		d.Problems, d.More = d.Problems[:maxProblems], len(d.Problems)-maxProblems
	}
	found := []*row{}
	text := strings.ToLower(d.Text)
	for _, r := range f.rows {
		if d.wants(r, text) {
			found = append(found, r)
		}
	}
	slices.SortStableFunc(found, worstFirst)
	d.Found = len(found)
	d.Rows, d.Pages = cutPage(found, v.URL)
	if !d.Filtered() && d.Pages.Before == "" && v.may("execution.read") {
		if d.Failures, _, err = c.Service.Executions.Records(v.Context(), v.p, cloud.RecordFilter{Status: cloud.Failed, From: time.Now().Add(-24 * time.Hour)}, cloud.Cursor{}, 5); err != nil {
			return nil, err
		}
	}
	title := "Overview"
	if len(f.problems) > 0 {
		title = fmt.Sprintf("(%d) %s", len(f.problems), title)
	}
	return &answer{page: "overview", title: title, data: d, every: liveEvery}, nil
}

// wants reports whether an atom matches the filter.
func (d *overviewData) wants(r *row, text string) bool {
	if text != "" && !strings.Contains(strings.ToLower(r.Name), text) && !strings.Contains(strings.ToLower(r.Host), text) && !strings.HasPrefix(r.ID, text) &&
		!strings.HasPrefix(strings.ToLower(r.Version), text) {
		return false
	}
	if d.Place != "" && (r.Environment == nil || r.Environment.ID != d.Place) {
		return false
	}
	switch d.State {
	case "online":
		return r.Status == cloud.Online
	case "offline":
		return r.Status != cloud.Online
	case "trouble":
		return len(r.Troubles) > 0
	case "changing":
		return r.Changing()
	}
	return true
}
