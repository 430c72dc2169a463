"""stub"""
def write_report(path, summary, records, worst, labels, **sections):
    path.write_text('x')
