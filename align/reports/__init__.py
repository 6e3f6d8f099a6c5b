"""The ways to read a report, each a function from the report to text: `render(report)` in every file but `options`.

`text` is for a terminal, `html` one file for a browser, `json` for programs (`report.schema.json` describes it),
`junit` for the test pages of CI servers, `markdown` for the comment under a pull request.
"""
