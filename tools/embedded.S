// Files that the program carries inside: plotly.js, and the report's page and script.
// The build passes the paths as PLOTLY_JS, REPORT_HTML and REPORT_JS.
    .section .rodata

    .macro embed name, path
    .global \name\()_begin
    .global \name\()_end
    .hidden \name\()_begin
    .hidden \name\()_end
\name\()_begin:
    .incbin "\path"
\name\()_end:
    .byte 0
    .endm

    embed plotly_js, PLOTLY_JS
    embed report_html, REPORT_HTML
    embed report_js, REPORT_JS

    .section .note.GNU-stack, "", %progbits
